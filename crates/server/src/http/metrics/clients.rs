//! What is shown of clients: their connections, their calls, and what came of those.

use std::sync::atomic::Ordering;

use super::{Page, Unit};
use crate::member::Member;
use crate::methods::Method;
use crate::metrics::{Checks, Counter, Rpc, Rpcs};

/// As Go's gRPC spells the codes in metrics, by number.
const CODES: [&str; 17] = [
    "OK",
    "Canceled",
    "Unknown",
    "InvalidArgument",
    "DeadlineExceeded",
    "NotFound",
    "AlreadyExists",
    "PermissionDenied",
    "ResourceExhausted",
    "FailedPrecondition",
    "Aborted",
    "OutOfRange",
    "Unimplemented",
    "Internal",
    "Unavailable",
    "DataLoss",
    "Unauthenticated",
];

pub(super) fn write(page: &mut Page, member: &Member) {
    let metrics = &member.metrics;
    page.gauge("flotilla_connections", "Connections of clients.", metrics.connections.value());
    page.counter(
        "flotilla_connections_refused_total",
        "Connections closed because there were too many.",
        metrics.connections_refused.value(),
    );
    page.counter(
        "flotilla_tls_handshakes_failed_total",
        "TLS handshakes of clients that failed or took too long.",
        metrics.handshakes_failed.value(),
    );
    let (good, bad) = (metrics.health_success.value(), metrics.health_failures.value());
    page.counter("etcd_server_health_success", "Times that /health said true.", good);
    page.counter("etcd_server_health_failures", "Times that /health said false.", bad);
    checks(page, &metrics.checks);
    let name = "etcd_server_client_requests_total";
    page.head(name, "counter", "Calls, by the version that the client says it has.");
    for (kind, version, count) in metrics.requests.all() {
        let labels = format!("client_api_version=\"{version}\",type=\"{kind}\"");
        page.line(format_args!("{name}{{{labels}}} {count}\n"));
    }
    page.counter(
        "etcd_network_client_grpc_received_bytes_total",
        "Bytes of messages from clients.",
        metrics.received_bytes.value(),
    );
    page.counter(
        "etcd_network_client_grpc_sent_bytes_total",
        "Bytes of messages to clients.",
        metrics.sent_bytes.value(),
    );
    calls(page, &metrics.rpcs);
    durations(page, &metrics.rpcs);
}

fn checks(page: &mut Page, checks: &Checks) {
    let name = "etcd_server_healthcheck";
    page.head(name, "gauge", "Whether a check of health succeeded the last time.");
    for ((of, check), checked) in checks.all() {
        let last = checked.last.load(Ordering::Relaxed);
        page.line(format_args!("{name}{{type=\"{of}\",name=\"{check}\"}} {last}\n"));
    }
    let name = "etcd_server_healthchecks_total";
    page.head(name, "counter", "Checks of health, by how they went.");
    for ((of, check), checked) in checks.all() {
        for (status, count) in [("success", &checked.succeeded), ("error", &checked.failed)] {
            let labels = format!("type=\"{of}\",name=\"{check}\",status=\"{status}\"");
            page.line(format_args!("{name}{{{labels}}} {}\n", count.value()));
        }
    }
}

fn calls(page: &mut Page, rpcs: &Rpcs) {
    type Count = fn(&Rpc) -> &Counter;
    let rows: [(&str, &str, Count); 3] = [
        ("grpc_server_started_total", "Calls that began.", |rpc| &rpc.started),
        ("grpc_server_msg_received_total", "Messages from clients.", |rpc| &rpc.received),
        ("grpc_server_msg_sent_total", "Messages to clients.", |rpc| &rpc.sent),
    ];
    for (name, help, count) in rows {
        page.head(name, "counter", help);
        for (method, rpc) in seen(rpcs) {
            let labels = labels(method);
            page.line(format_args!("{name}{{{labels}}} {}\n", count(rpc).value()));
        }
    }
    page.head("grpc_server_handled_total", "counter", "Calls that ended, by code.");
    for (method, rpc) in seen(rpcs) {
        let labels = labels(method);
        for (code, count) in CODES.iter().zip(&rpc.handled) {
            let value = count.value();
            if value > 0 {
                page.line(format_args!(
                    "grpc_server_handled_total{{grpc_code=\"{code}\",{labels}}} {value}\n"
                ));
            }
        }
    }
}

fn durations(page: &mut Page, rpcs: &Rpcs) {
    let name = "grpc_server_handling_seconds";
    page.head(name, "histogram", "From the head of a call to the end of its answer.");
    for (method, rpc) in seen(rpcs) {
        page.buckets(name, &labels(method), &rpc.handling.view(), Unit::Second);
    }
    let name = "etcd_server_request_duration_seconds";
    page.head(name, "histogram", "The same of calls with one answer, by how they went.");
    for (method, rpc) in seen(rpcs) {
        let kind = method.path.rsplit('/').next().unwrap_or_default();
        for (is_success, times) in [(true, &rpc.request.succeeded), (false, &rpc.request.failed)] {
            let times = times.view();
            if times.count() > 0 {
                let labels = format!("type=\"{kind}\",success=\"{is_success}\"");
                page.buckets(name, &labels, &times, Unit::Second);
            }
        }
    }
}

/// Methods that were called.
fn seen(rpcs: &Rpcs) -> impl Iterator<Item = (&'static Method, &Rpc)> {
    rpcs.all().filter(|(_, rpc)| rpc.started.value() > 0)
}

/// Paths are those of our own table: nothing from the network becomes a label.
fn labels(method: &Method) -> String {
    let (path, kind) = (method.path, method.kind.label());
    let (service, method) = path.trim_start_matches('/').split_once('/').unwrap_or((path, ""));
    format!("grpc_method=\"{method}\",grpc_service=\"{service}\",grpc_type=\"{kind}\"")
}
