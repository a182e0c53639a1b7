//! What a cluster with TLS and authentication has beside one without: certificates, and a user.

use std::fs;
use std::path::{Path, PathBuf};

use api::etcdserverpb::auth_client::AuthClient;
use api::etcdserverpb::{
    AuthEnableRequest, AuthRoleAddRequest, AuthUserAddRequest, AuthUserGrantRoleRequest,
};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};

use crate::load::lazy;

/// Who may do all.
pub const ROOT: &str = "root";
/// Its password.
pub const ROOT_PASSWORD: &str = "root-secret";

/// Where the certificates of a cluster lie.
#[derive(Clone, Debug)]
pub(crate) struct Certificates {
    pub(crate) ca: PathBuf,
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
}

impl Certificates {
    /// Makes a CA, and one certificate that serves for every member of this machine.
    ///
    /// # Panics
    /// The folder cannot be written.
    pub(crate) fn make(folder: &Path) -> Self {
        let made = "certificates of a test can be made";
        let ca_key = KeyPair::generate().expect(made);
        let mut ca = CertificateParams::new(Vec::new()).expect(made);
        // Names of their own: who issues its own certificate would be taken for self-signed.
        ca.distinguished_name.push(DnType::CommonName, "conformance CA");
        ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca_pem = ca.self_signed(&ca_key).expect(made).pem();
        let issuer = Issuer::new(ca, ca_key);
        let key = KeyPair::generate().expect(made);
        let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
        let mut certificate = CertificateParams::new(names).expect(made);
        certificate.distinguished_name.push(DnType::CommonName, "localhost");
        let certificate = certificate.signed_by(&key, &issuer).expect(made).pem();
        let write = |name: &str, text: &str| {
            let path = folder.join(name);
            fs::write(&path, text).expect("the folder of a test can be written");
            path
        };
        Self {
            ca: write("ca.pem", &ca_pem),
            certificate: write("server.pem", &certificate),
            key: write("server.key", &key.serialize_pem()),
        }
    }
}

/// Makes the user root and turns authentication on, at a member's plaintext address.
///
/// # Panics
/// The member refuses.
pub(crate) fn turn_authentication_on(endpoint: &str) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime can be made").block_on(async {
        let mut auth = AuthClient::new(lazy(endpoint));
        let (name, password) = (ROOT.to_owned(), ROOT_PASSWORD.to_owned());
        let user = AuthUserAddRequest { name, password, ..AuthUserAddRequest::default() };
        auth.user_add(user).await.expect("root is made");
        // Flotilla and newer versions of etcd know this role without being told.
        let _known = auth.role_add(AuthRoleAddRequest { name: ROOT.to_owned() }).await;
        let grant = AuthUserGrantRoleRequest { user: ROOT.to_owned(), role: ROOT.to_owned() };
        auth.user_grant_role(grant).await.expect("root gets its role");
        auth.auth_enable(AuthEnableRequest {}).await.expect("authentication is turned on");
    });
}
