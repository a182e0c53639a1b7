//! Names in certificates.

use host::transport::names;
use tokio_rustls::rustls::pki_types::CertificateDer;
use x509_cert::der::asn1::ObjectIdentifier;
use x509_cert::der::{Decode, Tag, Tagged};

use super::TlsFiles;

const COMMON_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.3");

/// The one common name of a certificate's subject. Several, or one that is no text, are none: what
/// is ambiguous must not be a user.
pub(crate) fn common_name(certificate: &[u8]) -> Option<String> {
    let certificate = x509_cert::Certificate::from_der(certificate).ok()?;
    let subject = &certificate.tbs_certificate.subject;
    let mut names = subject
        .0
        .iter()
        .flat_map(|name| name.0.iter())
        .filter(|attribute| attribute.oid == COMMON_NAME);
    let name = names.next().filter(|_| names.next().is_none())?;
    let is_text =
        matches!(name.value.tag(), Tag::Utf8String | Tag::PrintableString | Tag::Ia5String);
    let text = std::str::from_utf8(name.value.value()).ok()?;
    (is_text && !text.is_empty()).then(|| text.to_owned())
}

impl TlsFiles {
    /// Whether the options name the certificates that are taken.
    pub(super) fn has_allowed_names(&self) -> bool {
        !self.allowed_cns.is_empty() || !self.allowed_hostnames.is_empty()
    }

    /// Whether a certificate is one of those. Where both kinds of names are given, it needs both.
    pub(super) fn allows(&self, certificate: &CertificateDer<'_>) -> bool {
        let by_name = self.allowed_cns.is_empty()
            || common_name(certificate).is_some_and(|name| self.allowed_cns.contains(&name));
        let by_host = self.allowed_hostnames.is_empty()
            || self.allowed_hostnames.iter().any(|host| names(certificate, host));
        by_name && by_host
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair};

    use super::common_name;

    fn certificate(names: &[(DnType, &str)]) -> Vec<u8> {
        let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        params.distinguished_name = DistinguishedName::new();
        for (kind, name) in names {
            params.distinguished_name.push(kind.clone(), *name);
        }
        params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().to_vec()
    }

    #[test]
    fn several_common_names_are_nobodys() {
        let one = certificate(&[(DnType::CommonName, "alice"), (DnType::CountryName, "AQ")]);
        assert_eq!(common_name(&one).as_deref(), Some("alice"));
        // The same kind of name, spelt as a number.
        let second = DnType::CustomDnType(vec![2, 5, 4, 3]);
        let two = certificate(&[(DnType::CommonName, "alice"), (second, "root")]);
        assert_eq!(common_name(&two), None);
        assert_eq!(common_name(&certificate(&[(DnType::CommonName, "")])), None);
        assert_eq!(common_name(&certificate(&[(DnType::OrganizationName, "root")])), None);
        assert_eq!(common_name(b"no certificate"), None);
    }
}
