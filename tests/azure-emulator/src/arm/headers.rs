//! Headers of every ARM answer (observed).

use uuid::Uuid;

use crate::call::Call;
use crate::reply::Reply;

/// Adds request ids, rate-limit counters and the constant headers.
pub(super) fn complete(mut reply: Reply, call: &Call, counters: &[(String, u64)]) -> Reply {
    let id = Uuid::new_v4().to_string();
    let correlation = call
        .headers
        .get("x-ms-correlation-request-id")
        .and_then(|value| value.to_str().ok())
        .map_or_else(|| id.clone(), str::to_owned);
    let routing = format!("EMULATOR:{}:{id}", call.now().strftime("%Y%m%dT%H%M%SZ"));
    for (name, value) in [
        ("cache-control", "no-cache"),
        ("pragma", "no-cache"),
        ("expires", "-1"),
        ("strict-transport-security", "max-age=31536000; includeSubDomains"),
        ("x-content-type-options", "nosniff"),
        ("x-ms-request-id", id.as_str()),
        ("x-ms-correlation-request-id", correlation.as_str()),
        ("x-ms-routing-request-id", routing.as_str()),
    ] {
        reply = reply.with(name, value);
    }
    for (name, left) in counters {
        reply = reply.with(name, &left.to_string());
    }
    reply
}
