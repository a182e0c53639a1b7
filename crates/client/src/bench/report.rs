//! The result of a run, for people and for programs.

use std::io::{self, Write};
use std::time::Duration;

use serde::Serialize;

use super::processes::Usage;
use super::{Run, Workload};
use crate::table::bytes_short;

/// What was measured.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Report {
    workload: String,
    endpoints: Vec<String>,
    clients: u32,
    conns: usize,
    value_size: usize,
    keys: u64,
    secs: f64,
    operations: u64,
    failures: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    first_failure: Option<String>,
    ops_per_sec: f64,
    mean_us: f64,
    p50_us: u64,
    p99_us: u64,
    p999_us: u64,
    max_us: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    servers: Option<Servers>,
    own_cpu_us_per_op: f64,
    #[serde(skip)]
    json: bool,
    #[serde(skip)]
    unit: &'static str,
}

/// What the watched processes used.
#[derive(Clone, Debug, Serialize)]
struct Servers {
    pids: Vec<u32>,
    cpu_us_per_op: f64,
    written_bytes_per_op: f64,
    resident_bytes: u64,
}

impl Report {
    pub(crate) fn new(
        run: &Run,
        conns: usize,
        taken: Duration,
        usage: &Usage,
        own: &Usage,
    ) -> Self {
        let options = &run.options;
        let operations = run.recorders.count();
        let (failures, first_failure) = run.recorders.failures();
        let ([p50_us, p99_us, p999_us, max_us], mean_us) = run.recorders.summary_us();
        let servers = (!options.pids.is_empty()).then(|| Servers {
            pids: options.pids.clone(),
            cpu_us_per_op: ratio(usage.cpu_us, operations),
            written_bytes_per_op: ratio(usage.written_bytes, operations),
            resident_bytes: usage.resident_bytes,
        });
        Self {
            workload: format!("{:?}", options.workload).to_lowercase(),
            endpoints: options.endpoints.iter().map(str::to_owned).collect(),
            clients: options.clients,
            conns,
            value_size: options.value_size,
            keys: options.keys,
            secs: taken.as_secs_f64(),
            operations,
            failures,
            first_failure,
            ops_per_sec: float(operations) / taken.as_secs_f64(),
            mean_us,
            p50_us,
            p99_us,
            p999_us,
            max_us,
            servers,
            own_cpu_us_per_op: ratio(own.cpu_us, operations),
            json: options.json,
            unit: unit(options.workload),
        }
    }

    pub(crate) fn operations(&self) -> u64 {
        self.operations
    }

    pub(crate) fn first_failure(&self) -> Option<String> {
        self.first_failure.clone()
    }

    pub(crate) fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        if self.json {
            serde_json::to_writer(&mut *out, self)?;
            return writeln!(out);
        }
        writeln!(
            out,
            "{} to {}: {} clients on {} connections, values of {} B, {} keys, {:.1} s",
            self.workload,
            self.endpoints.join(","),
            self.clients,
            self.conns,
            self.value_size,
            self.keys,
            self.secs
        )?;
        writeln!(
            out,
            "  {:<16} {:.0}/s ({} in all)",
            self.unit, self.ops_per_sec, self.operations
        )?;
        writeln!(
            out,
            "  {:<16} p50 {}  p99 {}  p99.9 {}  max {}",
            "latency, ms",
            millis(self.p50_us),
            millis(self.p99_us),
            millis(self.p999_us),
            millis(self.max_us)
        )?;
        if let Some(servers) = &self.servers {
            writeln!(
                out,
                "  {:<16} {:.1} µs CPU and {:.0} B to disk per operation, {} of memory now",
                "servers",
                servers.cpu_us_per_op,
                servers.written_bytes_per_op,
                bytes_short(servers.resident_bytes)
            )?;
        }
        writeln!(
            out,
            "  {:<16} {:.1} µs CPU per operation",
            "this program", self.own_cpu_us_per_op
        )?;
        if let Some(failure) = &self.first_failure {
            writeln!(out, "  {:<16} {}, the first: {failure}", "failures", self.failures)?;
        }
        Ok(())
    }
}

/// What is counted.
pub(crate) fn unit(workload: Workload) -> &'static str {
    match workload {
        Workload::Put => "puts",
        Workload::Get => "gets",
        Workload::Mixed => "requests",
        Workload::Range => "ranges",
        Workload::Watch => "events",
    }
}

/// Microseconds as milliseconds with two digits behind the point.
pub(crate) fn millis(us: u64) -> String {
    format!("{}.{:02}", us / 1000, us % 1000 / 10)
}

fn ratio(sum: u64, count: u64) -> f64 {
    if count == 0 { 0.0 } else { float(sum) / float(count) }
}

#[expect(clippy::cast_precision_loss, reason = "counts of a run are far below 2⁵³")]
fn float(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn milliseconds_have_two_digits() {
        assert_eq!(millis(0), "0.00");
        assert_eq!(millis(1_239), "1.23");
        assert_eq!(millis(12_050), "12.05");
    }

    #[test]
    fn nothing_done_is_no_division_by_zero() {
        assert!(ratio(5, 0).abs() < f64::EPSILON);
    }
}
