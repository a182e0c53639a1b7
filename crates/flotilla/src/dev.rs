//! `flotilla dev`: a cluster on this machine, in one process, to play with.

use std::io::{self, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use env::Entropy;
use env::os::OsEntropy;
use server::{ExitReason, RunningServer, Server, ServerOptions, ServerStatus};
use tokio::task::JoinSet;

use crate::serve::{Signals, end, shut_down_all};
use crate::{Failure, logs};

/// In one process a heartbeat is never late by much, so an election need not wait a second.
const HEARTBEAT_MS: u64 = 50;
const ELECTION_TIMEOUT_MS: u64 = 500;
/// Members of one process end together, and would warn of each other's absence while they do.
const QUIET: &str = "warn,host::transport=error,server::running=error";
/// Longer than any start that ends well; then the lines are printed with what is known.
const READY_WITHIN: Duration = Duration::from_secs(20);
/// The code for an address that cannot be listened on.
const EXIT_LISTEN: u8 = 13;

/// What the cluster is to be like.
#[derive(Clone, Debug, Args)]
pub(crate) struct DevOptions {
    /// Members.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=9))]
    nodes: u16,
    /// The first client port; the next members have the next ones, and the ports between members
    /// are behind them.
    #[arg(long, default_value_t = 2379)]
    port: u16,
    /// Where the data lies; a cluster that is there is started again [default: a fresh folder].
    #[arg(long)]
    data_dir: Option<PathBuf>,
    /// What is logged: debug, info, warn, error, or a filter such as info,raft=debug.
    #[arg(long, default_value = QUIET)]
    log_level: String,
}

/// Runs the cluster until Ctrl-C.
pub(crate) fn run(options: &DevOptions) -> Result<(), Failure> {
    logs::start(&options.log_level)?;
    let data_dir = options.data_dir.clone().unwrap_or_else(fresh_folder);
    let members = plan(options, &data_dir)?;
    let runtime = crate::runtime::build()?;
    let ended = runtime.block_on(async {
        let mut signals = Signals::new()?;
        let servers = start_all(members).await?;
        let ready = wait_ready(&servers);
        let signalled = tokio::select! {
            () = ready => false,
            _ = signals.next() => true,
        };
        if !signalled {
            let statuses: Vec<ServerStatus> = servers.iter().map(RunningServer::status).collect();
            tell(&mut io::stdout(), &statuses, &data_dir)?;
            let faults = servers.iter().map(|server| Box::pin(server.wait()));
            let mut faults = faults.collect::<Vec<_>>();
            tokio::select! {
                _ = signals.next() => {}
                reason = first(&mut faults) => return Ok(reason),
            }
        }
        let shutting_down = shut_down_all(servers);
        tokio::select! {
            reason = shutting_down => Ok::<ExitReason, Failure>(reason),
            _ = signals.next() => Ok(ExitReason::Shutdown),
        }
    });
    runtime.shutdown_background();
    end(&ended?)
}

/// The first of several futures that ends.
async fn first<F: Future<Output = ExitReason> + Unpin>(futures: &mut [F]) -> ExitReason {
    std::future::poll_fn(|context| {
        for future in &mut *futures {
            if let std::task::Poll::Ready(reason) = std::pin::Pin::new(future).poll(context) {
                return std::task::Poll::Ready(reason);
            }
        }
        std::task::Poll::Pending
    })
    .await
}

fn fresh_folder() -> PathBuf {
    std::env::temp_dir().join(format!("flotilla-dev-{:08x}", OsEntropy.next_u64() >> 32))
}

/// The options of every member, with its sockets already listening.
fn plan(options: &DevOptions, data_dir: &Path) -> Result<Vec<ServerOptions>, Failure> {
    let nodes = usize::from(options.nodes);
    let last = u32::from(options.port) + 2 * u32::from(options.nodes) - 1;
    if options.port == 0 || last > u32::from(u16::MAX) {
        let port = options.port;
        let message = format!("--port {port}: {} ports from it on are needed", 2 * nodes);
        return Err(Failure::new(&message, 2));
    }
    let client_ports = options.port..options.port + options.nodes;
    let peer_ports = client_ports.end..client_ports.end + options.nodes;
    let url = |port: u16| format!("http://127.0.0.1:{port}");
    let name = |number: usize| format!("n{}", number + 1);
    let cluster: Vec<String> = peer_ports
        .clone()
        .enumerate()
        .map(|(number, port)| format!("{}={}", name(number), url(port)))
        .collect();
    client_ports
        .zip(peer_ports)
        .enumerate()
        .map(|(number, (client_port, peer_port))| {
            Ok(ServerOptions {
                name: name(number),
                data_dir: data_dir.join(name(number)),
                listen_client_urls: vec![url(client_port)],
                advertise_client_urls: vec![url(client_port)],
                listen_peer_urls: vec![url(peer_port)],
                initial_advertise_peer_urls: vec![url(peer_port)],
                initial_cluster: cluster.join(","),
                initial_cluster_token: "flotilla-dev".to_owned(),
                heartbeat_interval_ms: HEARTBEAT_MS,
                election_timeout_ms: ELECTION_TIMEOUT_MS,
                client_listener: Some(listen(client_port)?),
                peer_listener: Some(listen(peer_port)?),
                ..ServerOptions::default()
            })
        })
        .collect()
}

fn listen(port: u16) -> Result<TcpListener, Failure> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).map_err(|error| {
        let message = format!(
            "cannot listen on 127.0.0.1:{port}: {error}: stop what listens there, or choose other \
             ports with --port"
        );
        Failure::new(&message, EXIT_LISTEN)
    })
}

/// All at the same time: none is ready before a majority is there.
async fn start_all(members: Vec<ServerOptions>) -> Result<Vec<RunningServer>, Failure> {
    let mut starting = JoinSet::new();
    for (number, options) in members.into_iter().enumerate() {
        starting.spawn(async move { (number, Server::start(options).await) });
    }
    let mut servers = Vec::new();
    while let Some(started) = starting.join_next().await {
        let (number, server) = started.map_err(|error| Failure::new(&error, 1))?;
        servers.push((number, server?));
    }
    servers.sort_by_key(|(number, _)| *number);
    Ok(servers.into_iter().map(|(_, server)| server).collect())
}

async fn wait_ready(servers: &[RunningServer]) {
    let all = async {
        for server in servers {
            server.wait_ready().await;
        }
    };
    // Not ready in time is told by the lines that are printed then.
    let _ready = tokio::time::timeout(READY_WITHIN, all).await;
}

fn tell(out: &mut dyn Write, statuses: &[ServerStatus], data_dir: &Path) -> Result<(), Failure> {
    let leader = statuses.iter().find_map(|status| status.leader_id);
    let mut endpoints = Vec::new();
    for status in statuses {
        let role = match leader {
            Some(leader) if leader == status.member_id => "leader",
            _ if status.ready => "follower",
            _ => "not ready",
        };
        let urls = status.client_urls.join(",");
        writeln!(out, "{}  {role:<9}  {urls}", status.name)?;
        endpoints.push(urls.replace("http://", ""));
    }
    let all = endpoints.join(",");
    writeln!(out, "data in {}", data_dir.display())?;
    writeln!(out, "try:   ETCDCTL_API=3 etcdctl --endpoints={all} put greeting hello")?;
    writeln!(out, "or:    flotilla ctl status --endpoints {all}")?;
    writeln!(out, "again: flotilla dev --data-dir {}   (Ctrl-C ends)", data_dir.display())?;
    out.flush()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(name: &str, member_id: u64, port: u16) -> ServerStatus {
        ServerStatus {
            name: name.to_owned(),
            member_id,
            cluster_id: 1,
            leader_id: Some(8),
            term: 2,
            applied_index: 3,
            snapshot_index: 0,
            revision: 1,
            ready: true,
            client_urls: vec![format!("http://127.0.0.1:{port}")],
        }
    }

    #[test]
    fn each_node_has_a_line_and_the_leader_is_told() {
        let mut out = Vec::new();
        let statuses = [status("n1", 7, 1), status("n2", 8, 2)];
        tell(&mut out, &statuses, Path::new("/data")).unwrap();
        let text = String::from_utf8(out).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "n1  follower   http://127.0.0.1:1");
        assert_eq!(lines[1], "n2  leader     http://127.0.0.1:2");
        assert_eq!(lines[2], "data in /data");
        assert!(lines[3].contains("etcdctl --endpoints=127.0.0.1:1,127.0.0.1:2 put"), "{text}");
    }

    #[test]
    fn ports_that_do_not_exist_are_refused() {
        let options =
            DevOptions { nodes: 3, port: 65_533, data_dir: None, log_level: "warn".to_owned() };
        let failure = plan(&options, Path::new("/data")).unwrap_err();
        assert_eq!(failure.exit_code, 2);
        assert!(failure.message.contains("--port 65533"), "{}", failure.message);
    }
}
