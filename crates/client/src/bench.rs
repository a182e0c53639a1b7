//! `flotilla bench`: a closed loop of clients against any etcd v3 endpoints.
//!
//! Each client has one request under way at a time, so throughput and latency are two views of one
//! thing. Clients share a few connections, keys and values are made once, and the latencies go into
//! histograms that few clients share, because the program shares the machine with what it measures.

mod caller;
mod load;
mod processes;
mod recorder;
mod report;
mod watchers;

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use clap::{Args, ValueEnum};
use env::Clock;
use env::os::OsClock;
use http::HeaderValue;

use crate::{ClientError, Endpoints, TlsOptions, User};
use caller::Caller;
use processes::Usage;
use recorder::Recorders;
use report::Report;

/// What the clients do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Workload {
    /// Put a value under a key chosen at random.
    Put,
    /// Read one key, linearizably.
    Get,
    /// Put or get, by --read-percent.
    Mixed,
    /// Read --range-keys neighbouring keys with their values.
    Range,
    /// Put under the eyes of --watchers watchers; measures what they receive.
    Watch,
}

/// What to measure, and how.
#[derive(Clone, Debug, Args)]
pub struct BenchOptions {
    /// What the clients do.
    #[arg(value_enum)]
    pub workload: Workload,
    /// The servers, as host:port,https://host:port.
    #[arg(long, env = "FLOTILLA_ENDPOINTS", default_value = "127.0.0.1:2379")]
    pub endpoints: Endpoints,
    /// Who asks, where authentication is on.
    #[arg(long, value_name = "NAME[:PASSWORD]")]
    pub user: Option<User>,
    /// The password of --user; asked for if it is left out.
    #[arg(long)]
    pub password: Option<String>,
    /// Certificates.
    #[command(flatten)]
    pub tls: TlsOptions,
    /// Clients, each with one request under way.
    #[arg(long, default_value_t = 128, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    pub clients: u32,
    /// Connections that the clients share, spread over the endpoints; at most one per client.
    #[arg(long, default_value_t = 6, value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub conns: u32,
    /// Seconds to measure.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub secs: u64,
    /// Seconds to run before measuring.
    #[arg(long, default_value_t = 1)]
    pub warmup_secs: u64,
    /// Bytes of a value.
    #[arg(long, default_value_t = 256)]
    pub value_size: usize,
    /// How many different keys.
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1..))]
    pub keys: u64,
    /// Every key begins with this.
    #[arg(long, default_value = "bench/")]
    pub prefix: String,
    /// How many of a hundred requests are gets, in `mixed`.
    #[arg(long, default_value_t = 80, value_parser = clap::value_parser!(u64).range(0..=100))]
    pub read_percent: u64,
    /// Keys that one request reads, in `range`.
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..))]
    pub range_keys: u32,
    /// Watchers, in `watch`.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    pub watchers: u32,
    /// Read from the member that is asked, which may be behind.
    #[arg(long)]
    pub serializable: bool,
    /// Do not put the keys that will be read beforehand.
    #[arg(long)]
    pub no_load: bool,
    /// Processes of the servers: their CPU time, memory and disk writes are reported.
    #[arg(long = "pid", value_delimiter = ',')]
    pub pids: Vec<u32>,
    /// Threads of this program.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=256))]
    pub threads: u32,
    /// Print the result as JSON.
    #[arg(long)]
    pub json: bool,
}

/// What all tasks of a run share.
#[derive(Debug)]
struct Run {
    options: BenchOptions,
    clock: OsClock,
    phase: AtomicU8,
    recorders: Recorders,
    keys: load::Keys,
}

/// Requests run but are not counted.
const WARMING_UP: u8 = 0;
/// Requests that end are counted.
const MEASURING: u8 = 1;
/// No further request is begun.
const STOPPED: u8 = 2;

impl Run {
    fn phase(&self) -> u8 {
        self.phase.load(Ordering::Relaxed)
    }

    fn enter(&self, phase: u8) {
        self.phase.store(phase, Ordering::Relaxed);
    }
}

/// Measures, and writes the result to `out`.
///
/// # Errors
/// No endpoint answers, a process to be watched is not there, or all requests fail.
pub fn run(options: BenchOptions, out: &mut dyn Write) -> Result<(), ClientError> {
    let runtime = runtime(options.threads)?;
    let report = runtime.block_on(measure(options))?;
    runtime.shutdown_timeout(Duration::from_secs(1));
    report.write(out)?;
    Ok(())
}

/// The threads of this program. A single one takes its tasks in the order in which they were woken,
/// so that all clients whose answers came together send their next requests together. A runtime of
/// several threads runs what was woken last first: a connection would write one request at a time.
fn runtime(threads: u32) -> std::io::Result<tokio::runtime::Runtime> {
    let mut builder = match threads {
        1 => tokio::runtime::Builder::new_current_thread(),
        _ => tokio::runtime::Builder::new_multi_thread(),
    };
    builder.worker_threads(usize::try_from(threads).unwrap_or(1)).enable_all().build()
}

async fn measure(options: BenchOptions) -> Result<Report, ClientError> {
    let conns = options.conns.min(options.clients);
    let user = options.user.clone().map(|user| user.or_password(options.password.as_deref()));
    let endpoints = options.endpoints.clone().signed(user).secured(options.tls.clone());
    let options = BenchOptions { endpoints, ..options };
    let token = options.endpoints.token().await?;
    let token = token.map(|token| token.as_encoded_bytes().to_vec());
    let token = token.and_then(|token| HeaderValue::from_bytes(&token).ok());
    let mut callers = Vec::new();
    for authority in options.endpoints.iter().cycle().take(usize::try_from(conns).unwrap_or(1)) {
        callers.push(Caller::connect(&options.endpoints, authority, token.as_ref()).await?);
    }
    let run = Arc::new(Run {
        recorders: Recorders::new(options.clients),
        keys: load::Keys::new(&options.prefix, options.keys),
        clock: OsClock::new(),
        phase: AtomicU8::new(WARMING_UP),
        options,
    });
    if matches!(run.options.workload, Workload::Get | Workload::Mixed | Workload::Range) {
        load::load_keys(&run, &run.options.endpoints.connect_each(callers.len()).await?).await?;
    }
    let watching = if run.options.workload == Workload::Watch {
        let channels = run.options.endpoints.connect_each(callers.len()).await?;
        Some(watchers::start(&run, &channels).await?)
    } else {
        None
    };
    let clients: Vec<_> = (0..run.options.clients)
        .map(|number| {
            let caller = callers[number as usize % callers.len()].clone();
            tokio::spawn(load::client(Arc::clone(&run), number, caller))
        })
        .collect();
    let report = measure_running(&run, callers.len()).await?;
    for client in clients {
        // A client that panicked would have been counted as fewer requests: tell it instead.
        client.await.map_err(|error| ClientError::Argument(format!("a client broke: {error}")))?;
    }
    drop(watching);
    match report.first_failure() {
        Some(failure) if report.operations() == 0 => Err(ClientError::Argument(failure)),
        _ => Ok(report),
    }
}

async fn measure_running(run: &Arc<Run>, conns: usize) -> Result<Report, ClientError> {
    tokio::time::sleep(Duration::from_secs(run.options.warmup_secs)).await;
    let before = Usage::of(&run.options.pids)?;
    let own_before = Usage::of(&[std::process::id()])?;
    let begun = run.clock.now();
    run.enter(MEASURING);
    let mut counted = 0;
    for second in 1..=run.options.secs {
        let until = begun.after(Duration::from_secs(second)).since(run.clock.now());
        tokio::time::sleep(until).await;
        let count = run.recorders.count();
        progress(run, second, count - counted);
        counted = count;
    }
    run.enter(STOPPED);
    let taken = run.clock.now().since(begun);
    let usage = Usage::of(&run.options.pids)?.since(&before);
    let own = Usage::of(&[std::process::id()])?.since(&own_before);
    Ok(Report::new(run, conns, taken, &usage, &own))
}

fn progress(run: &Run, second: u64, count: u64) {
    // Progress that cannot be shown is no reason to stop measuring.
    let _shown = writeln!(
        std::io::stderr(),
        "{second:>4} s  {count:>8} {}/s  p99 {} ms",
        report::unit(run.options.workload),
        report::millis(run.recorders.quantile_us(0.99)),
    );
}
