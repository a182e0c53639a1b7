//! A cluster of real processes.

use std::fs::{self, OpenOptions};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

use crate::ports::Reserved;
use crate::secured::{Certificates, turn_authentication_on};
use crate::{Target, eventually};

/// Debug builds on a busy machine are slow; a cluster that needs longer than this is broken.
const READY_WITHIN: Duration = Duration::from_secs(30);
/// Starts again with other ports when somebody took one between our letting it go and the member's
/// taking it.
const PORT_RACES_MAX: usize = 3;
const LOG_LINES_SHOWN: usize = 25;

/// What a cluster is to be like.
#[derive(Clone, Debug)]
pub struct ClusterPlan {
    /// Members in the first configuration.
    pub size: usize,
    /// How many of them are started; the others stay away until they are.
    pub started: usize,
    /// Further flags for every member.
    pub flags: Vec<String>,
    /// Which server; what the environment asks for if this does not say.
    pub target: Option<Target>,
    /// Where the members' folders are made; where the system keeps temporary files if this does not
    /// say, which may be in memory.
    pub parent: Option<PathBuf>,
    /// Whether clients are served by TLS and must be users; [`ROOT`](crate::ROOT) is one.
    pub secured: bool,
}

impl Default for ClusterPlan {
    fn default() -> Self {
        let (flags, target, parent) = (Vec::new(), None, None);
        Self { size: 3, started: 3, flags, target, parent, secured: false }
    }
}

#[derive(Debug)]
struct Member {
    name: String,
    client_port: u16,
    peer_port: u16,
    /// Where it is served without TLS, for this harness: the client port unless that is secured.
    plain_port: u16,
    /// It joins a cluster that runs.
    joins: bool,
    child: Option<Child>,
}

impl Member {
    /// With three ports that nobody has.
    fn new(number: usize, ports: &[u16], secured: bool) -> Self {
        let plain_port = if secured { ports[2] } else { ports[0] };
        let (client_port, peer_port) = (ports[0], ports[1]);
        let name = format!("n{}", number + 1);
        Self { name, client_port, peer_port, plain_port, joins: false, child: None }
    }
}

/// Processes that end with this value. When a test fails their logs are shown and kept.
#[derive(Debug)]
pub struct Cluster {
    target: Target,
    plan: ClusterPlan,
    members: Vec<Member>,
    certificates: Option<Certificates>,
    folder: Option<TempDir>,
}

impl Cluster {
    /// Three members, ready.
    ///
    /// # Panics
    /// They do not become ready in time.
    #[must_use]
    pub fn start() -> Self {
        Self::start_plan(&ClusterPlan::default())
    }

    /// Starts what the plan says and waits until it is ready.
    ///
    /// # Panics
    /// It does not become ready in time.
    #[must_use]
    pub fn start_plan(plan: &ClusterPlan) -> Self {
        for _ in 0..PORT_RACES_MAX {
            let mut cluster = Self::lay(plan);
            (0..plan.started).for_each(|number| cluster.spawn(number));
            let ready = eventually("the cluster is ready", READY_WITHIN, || {
                let lost = (0..plan.started).any(|number| cluster.has_ended(number));
                let ready = (0..plan.started).all(|number| cluster.is_healthy(number));
                (lost || ready).then_some(ready)
            });
            if ready {
                if plan.secured {
                    turn_authentication_on(&cluster.plain_endpoint(0));
                }
                return cluster;
            }
            assert!(cluster.lost_a_port(), "a member ended at its start:\n{}", cluster.logs());
        }
        panic!("a port was taken {PORT_RACES_MAX} times between two calls");
    }

    /// Ports and folders, no process yet.
    fn lay(plan: &ClusterPlan) -> Self {
        let reserved = Reserved::take(3 * plan.size);
        let ports = reserved.ports();
        let members = ports
            .chunks_exact(3)
            .enumerate()
            .map(|(number, ports)| Member::new(number, ports, plan.secured))
            .collect();
        let mut folder = tempfile::Builder::new();
        folder.prefix("conformance-");
        let folder = match &plan.parent {
            Some(parent) => folder.tempdir_in(parent),
            None => folder.tempdir(),
        };
        let folder = Some(folder.expect("the system has room for a folder of a test"));
        let target = plan.target.clone().unwrap_or_else(Target::from_environment);
        let mut cluster = Self { target, plan: plan.clone(), members, certificates: None, folder };
        if plan.secured {
            cluster.certificates = Some(Certificates::make(&cluster.path("")));
        }
        cluster
    }

    /// Makes room for another member, which will join the running cluster; returns its number.
    pub fn lay_joiner(&mut self) -> usize {
        let number = self.members.len();
        let member = Member::new(number, &Reserved::take(3).ports(), self.plan.secured);
        self.members.push(Member { joins: true, ..member });
        number
    }

    /// A member's name.
    #[must_use]
    pub fn name(&self, number: usize) -> &str {
        &self.members[number].name
    }

    /// Where other members reach it.
    #[must_use]
    pub fn peer_url(&self, number: usize) -> String {
        format!("{}://127.0.0.1:{}", self.scheme(), self.members[number].peer_port)
    }

    /// Of clients' and members' addresses.
    fn scheme(&self) -> &'static str {
        if self.certificates.is_some() { "https" } else { "http" }
    }

    /// Where a member's data lies.
    #[must_use]
    pub fn data_dir(&self, number: usize) -> PathBuf {
        self.path(&self.members[number].name)
    }

    /// Deletes a member's data; it must not run.
    ///
    /// # Panics
    /// It cannot be deleted.
    pub fn wipe(&self, number: usize) {
        let folder = self.path(&self.members[number].name);
        fs::remove_dir_all(folder)
            .expect("the folder of a member that does not run can be deleted");
    }

    /// Waits until a member's process has ended by itself, and tells its exit code.
    ///
    /// # Panics
    /// It goes on, or was ended by a signal.
    pub fn wait_exit(&mut self, number: usize) -> i32 {
        let what = format!("{} ends", self.members[number].name);
        let code = eventually(&what, READY_WITHIN, || {
            let child = self.members[number].child.as_mut()?;
            child.try_wait().ok().flatten().map(|status| status.code())
        });
        self.members[number].child = None;
        code.unwrap_or_else(|| panic!("it was ended by a signal:\n{}", self.logs()))
    }

    /// Starts a member that does not run, with the data it has, and does not wait for it.
    ///
    /// # Panics
    /// Its program cannot be started.
    pub fn spawn(&mut self, number: usize) {
        let state = if self.members[number].joins { "existing" } else { "new" };
        let founders = self.members.iter().enumerate();
        let cluster: Vec<String> = founders
            .filter(|(other, member)| !member.joins || *other == number)
            .map(|(other, member)| format!("{}={}", member.name, self.peer_url(other)))
            .collect();
        let log = OpenOptions::new().create(true).append(true).open(self.log_path(number));
        let log = log.expect("the log of a member can be opened");
        let member = &self.members[number];
        let client_url = format!("{}://127.0.0.1:{}", self.scheme(), member.client_port);
        let plain_url = format!("http://127.0.0.1:{}", member.plain_port);
        let listen_urls = match &self.certificates {
            Some(_) => format!("{client_url},{plain_url}"),
            None => client_url.clone(),
        };
        let peer_url = self.peer_url(number);
        let mut command = self.target.command();
        command
            .args(["--name", &member.name])
            .arg("--data-dir")
            .arg(self.path(&member.name))
            .args(["--listen-client-urls", &listen_urls, "--advertise-client-urls", &client_url])
            .args(["--listen-peer-urls", &peer_url, "--initial-advertise-peer-urls", &peer_url])
            .args(["--initial-cluster", &cluster.join(",")])
            .args(["--initial-cluster-state", state])
            .args(&self.plan.flags)
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a file can be shared"))
            .stderr(log);
        if let Some(files) = &self.certificates {
            for prefix in ["--", "--peer-"] {
                command.arg(format!("{prefix}cert-file")).arg(&files.certificate);
                command.arg(format!("{prefix}key-file")).arg(&files.key);
            }
            command.arg("--peer-trusted-ca-file").arg(&files.ca).arg("--peer-client-cert-auth");
        }
        let child = command.spawn();
        let child = child.unwrap_or_else(|error| panic!("{:?}: {error}", self.target));
        self.members[number].child = Some(child);
    }

    /// SIGKILL, and waits until the process is gone.
    ///
    /// # Panics
    /// It does not run.
    pub fn kill(&mut self, number: usize) {
        let mut child = self.members[number].child.take().expect("only a running member is killed");
        child.kill().expect("a child of ours can be killed");
        child.wait().expect("a child of ours can be waited for");
    }

    /// Stops a member where it stands: its connections stay, and it says nothing.
    ///
    /// # Panics
    /// It does not run.
    pub fn freeze(&self, number: usize) {
        self.signal(number, "STOP");
    }

    /// Lets a member that was frozen go on.
    ///
    /// # Panics
    /// It does not run.
    pub fn thaw(&self, number: usize) {
        self.signal(number, "CONT");
    }

    fn signal(&self, number: usize, signal: &str) {
        let child = self.members[number].child.as_ref();
        let id = child.expect("only a running member is signalled").id();
        // The shell's own `kill` is everywhere.
        let kill = format!("kill -{signal} {id}");
        let killed = Command::new("sh").args(["-c", &kill]).status();
        assert!(killed.is_ok_and(|status| status.success()), "{kill}");
    }

    /// Starts a member and waits until it serves.
    ///
    /// # Panics
    /// It does not in time.
    pub fn restart(&mut self, number: usize) {
        self.spawn(number);
        self.wait_healthy(number);
    }

    /// Waits until a member says that it is well.
    ///
    /// # Panics
    /// It does not in time.
    pub fn wait_healthy(&mut self, number: usize) {
        let name = self.members[number].name.clone();
        eventually(&format!("{name} is healthy"), READY_WITHIN, || {
            assert!(!self.has_ended(number), "{name} ended by itself:\n{}", self.logs());
            self.is_healthy(number).then_some(())
        });
    }

    fn has_ended(&mut self, number: usize) -> bool {
        let child = self.members[number].child.as_mut();
        child.is_none_or(|child| child.try_wait().is_ok_and(|status| status.is_some()))
    }

    /// Whether `/health` says so.
    #[must_use]
    pub fn is_healthy(&self, number: usize) -> bool {
        self.http_get(number, "/health").is_some_and(|answer| answer.contains("\"true\""))
    }

    /// The answer of a member's HTTP server, or nothing if there is none.
    #[must_use]
    pub fn http_get(&self, number: usize, path: &str) -> Option<String> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, self.members[number].plain_port));
        let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(1)).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(3))).ok()?;
        let request =
            format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        Some(answer)
    }

    fn lost_a_port(&self) -> bool {
        self.logs().to_lowercase().contains("in use")
    }

    /// How many members the configuration has.
    #[must_use]
    pub fn size(&self) -> usize {
        self.members.len()
    }

    /// One member's client address.
    #[must_use]
    pub fn endpoint(&self, number: usize) -> String {
        format!("127.0.0.1:{}", self.members[number].client_port)
    }

    /// All client addresses.
    #[must_use]
    pub fn endpoints(&self) -> Vec<String> {
        (0..self.size()).map(|number| self.endpoint(number)).collect()
    }

    /// The same without TLS, whether clients are served by it or not.
    #[must_use]
    pub fn plain_endpoint(&self, number: usize) -> String {
        format!("127.0.0.1:{}", self.members[number].plain_port)
    }

    /// Who has signed the certificates of the members, if they have any.
    #[must_use]
    pub fn ca_file(&self) -> Option<&Path> {
        self.certificates.as_ref().map(|files| files.ca.as_path())
    }

    /// All client addresses, as etcdctl takes them.
    #[must_use]
    pub fn endpoints_joined(&self) -> String {
        self.endpoints().join(",")
    }

    /// The processes that run.
    #[must_use]
    pub fn pids(&self) -> Vec<u32> {
        self.members.iter().filter_map(|member| member.child.as_ref().map(Child::id)).collect()
    }

    /// Which server this is.
    #[must_use]
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// What a member has logged.
    #[must_use]
    pub fn log(&self, number: usize) -> String {
        fs::read_to_string(self.log_path(number)).unwrap_or_default()
    }

    fn log_path(&self, number: usize) -> PathBuf {
        self.path(&format!("{}.log", self.members[number].name))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.as_ref().map(|folder| folder.path().join(name)).unwrap_or_default()
    }

    /// The end of every member's log.
    #[must_use]
    pub fn logs(&self) -> String {
        let mut text = String::new();
        for number in 0..self.size() {
            let log = self.log(number);
            let lines: Vec<&str> = log.lines().collect();
            let last = &lines[lines.len().saturating_sub(LOG_LINES_SHOWN)..];
            text.push_str(&format!("--- {}\n", self.log_path(number).display()));
            last.iter().for_each(|line| text.push_str(&format!("{line}\n")));
        }
        text
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for member in &mut self.members {
            if let Some(child) = &mut member.child {
                // It may have ended by itself.
                let _killed = child.kill();
                let _waited = child.wait();
            }
        }
        if std::thread::panicking() || std::env::var_os("CONFORMANCE_KEEP").is_some() {
            let logs = self.logs();
            let kept = self.folder.take().map(TempDir::keep);
            let text = format!("{logs}the folders and logs are kept in {kept:?}\n");
            // Nobody is left to tell if this fails.
            let _shown = std::io::stderr().write_all(text.as_bytes());
        }
    }
}
