//! What went through a gate, and when.

use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use hyper::body::Bytes;
use hyper::http::request::Parts;
use serde_json::Value;

use super::Transport;
use super::signature::{is_watch, signature};

/// One call.
#[derive(Clone, Debug)]
pub struct Call {
    /// Number of the call at its gate, from 1.
    pub id: u64,
    /// Which gate it came to.
    pub transport: Transport,
    /// HTTP method.
    pub method: String,
    /// Path as sent.
    pub path: String,
    /// Query as sent.
    pub query: Option<String>,
    /// Whether its answer has no end.
    pub watch: bool,
    /// What it asks for, without names and ids: `k8s GET clusterroles (watch)`, `azure PUT credential`.
    pub signature: String,
    /// JSON body; nothing else, so that no token is kept.
    pub body: Option<Value>,
    /// Status of the answer that came back.
    pub status: Option<u16>,
    /// When it was there.
    pub received: Instant,
    /// When it was sent on, if it was.
    pub forwarded: Option<Instant>,
    /// When the answer (of a watch its head) was given back, if it was.
    pub answered: Option<Instant>,
}

#[derive(Default)]
pub(super) struct Journal(Mutex<Vec<Call>>);

impl Journal {
    pub fn begin(&self, transport: Transport, head: &Parts, body: &Bytes) -> Call {
        let (method, path, query) = (head.method.as_str(), head.uri.path(), head.uri.query());
        let mut calls = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let call = Call {
            id: calls.len() as u64 + 1,
            transport,
            method: method.to_owned(),
            path: path.to_owned(),
            query: query.map(str::to_owned),
            watch: is_watch(transport, query),
            signature: signature(transport, method, path, query),
            body: serde_json::from_slice(body).ok(),
            status: None,
            received: Instant::now(),
            forwarded: None,
            answered: None,
        };
        calls.push(call.clone());
        call
    }

    pub fn update(&self, id: u64, change: impl FnOnce(&mut Call)) {
        let mut calls = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(call) = calls.iter_mut().rev().find(|call| call.id == id) {
            change(call);
        }
    }

    pub fn calls(&self) -> Vec<Call> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
