//! The emulator as tests hold it: start, stop and controls.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::Context;
use jiff::Timestamp;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::entra::{Issuers, SigningKey};
use crate::faults::Fault;
use crate::journal::{Entry, Journal, overlapping_writes};
use crate::knobs::Knobs;
use crate::operation::Operation;
use crate::rbac::{Rbac, Rule};
use crate::script::Script;
use crate::server;
use crate::shared::{Shared, lock};
use crate::state::World;
use crate::throttle::Throttle;
use crate::tls::Tls;

/// A running emulator. Clones are the same one; it stops when the last clone is dropped.
#[derive(Clone)]
pub struct Emulator {
    pub(crate) shared: Arc<Shared>,
    _stop: Option<Arc<DropGuard>>,
}

/// How to start an [`Emulator`].
#[derive(Clone, Debug)]
pub struct Options {
    /// Port on 127.0.0.1; 0 takes a free one.
    pub port: u16,
    /// The only tenant.
    pub tenant_id: String,
    /// The only subscription.
    pub subscription_id: String,
    /// PEM bundles of authorities that vouch for the TLS certificates of token issuers.
    pub issuer_cas: Vec<String>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            port: 0,
            tenant_id: "7e7a7e7a-0000-4000-8000-000000000001".to_owned(),
            subscription_id: "5ab5c41b-0000-4000-8000-000000000002".to_owned(),
            issuer_cas: Vec::new(),
        }
    }
}

impl Emulator {
    /// Starts listening.
    pub async fn start(options: Options) -> anyhow::Result<Self> {
        let tls = Tls::generate()?;
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, options.port))
            .await
            .with_context(|| format!("listening on 127.0.0.1:{}", options.port))?;
        let issuers = Issuers::default();
        issuers.trust(&tls.ca_pem)?;
        for pem in &options.issuer_cas {
            issuers.trust(pem)?;
        }
        let shared = Arc::new(Shared {
            url: format!("https://127.0.0.1:{}", listener.local_addr()?.port()),
            ca_pem: tls.ca_pem,
            tenant_id: options.tenant_id,
            subscription_id: options.subscription_id,
            world: Mutex::new(World::default()),
            knobs: Mutex::new(Knobs::default()),
            turn: Mutex::new(()),
            faults: Mutex::new(Script::default()),
            rbac: Mutex::new(Rbac::default()),
            throttle: Mutex::new(Throttle::default()),
            journal: Journal::default(),
            keys: SigningKey::of_process()?,
            issuers,
            shares: Mutex::new(HashMap::new()),
        });
        let stop = CancellationToken::new();
        let acceptor = TlsAcceptor::from(tls.server);
        tokio::spawn(server::run(Arc::clone(&shared), listener, acceptor, stop.clone()));
        Ok(Self {
            shared,
            _stop: Some(Arc::new(stop.drop_guard())),
        })
    }

    /// The same emulator, without keeping it alive.
    pub(crate) fn view(shared: &Arc<Shared>) -> Self {
        Self {
            shared: Arc::clone(shared),
            _stop: None,
        }
    }

    /// `https://127.0.0.1:PORT`: both the ARM endpoint and the authority host.
    pub fn url(&self) -> &str {
        &self.shared.url
    }

    /// The authority that vouches for the emulator.
    pub fn ca_pem(&self) -> &str {
        &self.shared.ca_pem
    }

    /// The only tenant.
    pub fn tenant_id(&self) -> &str {
        &self.shared.tenant_id
    }

    /// The only subscription.
    pub fn subscription_id(&self) -> &str {
        &self.shared.subscription_id
    }

    /// Trusts one more bundle for issuers. A bundle without a certificate is ignored and logged.
    pub fn trust_issuer_ca(&self, pem: &str) {
        if let Err(error) = self.shared.issuers.trust(pem) {
            tracing::error!(error = format!("{error:#}"), "issuer CA ignored");
        }
    }

    /// Changes the behaviour from now on; a request keeps the knobs it started with, but not the clock.
    pub fn knobs(&self, change: impl FnOnce(&mut Knobs)) {
        let _turn = lock(&self.shared.turn);
        let mut knobs = self.shared.knobs();
        change(&mut knobs);
        *lock(&self.shared.knobs) = knobs;
    }

    /// Lets time pass on the emulator's clock.
    pub fn advance_clock(&self, by: Duration) {
        self.knobs(|knobs| knobs.clock = knobs.clock.advanced(by));
    }

    /// The emulator's time.
    pub fn now(&self) -> Timestamp {
        self.shared.now()
    }

    /// Adds a scripted fault.
    pub fn fault(&self, fault: Fault) {
        lock(&self.shared.faults).add(fault);
    }

    /// Drops all scripted faults, used up or not.
    pub fn clear_faults(&self) {
        lock(&self.shared.faults).clear();
    }

    /// Forbids an action below a scope, to one principal (client or object id) or to everybody. The action is
    /// whole, a suffix (`federatedIdentityCredentials/write`, also with leading dots), or has one `*`.
    pub fn deny(&self, principal_or_any: Option<&str>, action: &str, scope_prefix: &str) {
        lock(&self.shared.rbac).deny(Rule::new(principal_or_any, action, scope_prefix));
    }

    /// Grants an action below a scope; from then on the principal may do only what is granted. Works after
    /// [`Knobs::rbac_lag`].
    pub fn grant(&self, principal: &str, action: &str, scope_prefix: &str) {
        let now = self.shared.now();
        lock(&self.shared.rbac).grant(Rule::new(Some(principal), action, scope_prefix), now);
    }

    /// Ends all grants and denials; denials work on until [`Knobs::rbac_lag`] has passed.
    pub fn allow_all(&self) {
        let now = self.shared.now();
        lock(&self.shared.rbac).allow_all(now);
    }

    /// All requests so far, in order of arrival.
    pub fn journal(&self) -> Vec<Entry> {
        self.shared.journal.entries()
    }

    /// How many requests asked for this.
    pub fn count(&self, operation: Operation) -> usize {
        self.shared.journal.count(operation)
    }

    /// See [`overlapping_writes`].
    pub fn overlapping_writes(&self) -> Vec<(Entry, Entry)> {
        overlapping_writes(&self.journal())
    }

    /// Forgets all requests.
    pub fn clear_journal(&self) {
        self.shared.journal.clear();
    }
}
