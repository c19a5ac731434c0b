//! What is read of the cluster's issuer, for all passes.

use std::time::Instant;

use tokio::sync::watch;
use tracing::{info, warn};

use crate::core::issuers::{ClusterIssuers, IssuerHistory, IssuerNews};

/// Takes in each read of the issuer, and publishes what the cluster's issuers are.
pub struct IssuerFeed {
    history: IssuerHistory,
    publish: watch::Sender<ClusterIssuers>,
}

impl IssuerFeed {
    /// Begins with the issuer that was read first. Answers where the issuers are published.
    pub fn new(issuer: String) -> (Self, watch::Receiver<ClusterIssuers>) {
        let (publish, published) = watch::channel(ClusterIssuers::from(issuer.clone()));
        let history = IssuerHistory::new(issuer);
        (Self { history, publish }, published)
    }

    /// The issuer was read again.
    pub fn take_in(&mut self, issuer: String) {
        let (issuers, news) = self.history.read(issuer, Instant::now());
        if let Some(news) = news {
            tell(&news, &issuers);
        }
        self.publish.send_if_modified(|known| {
            let changed = *known != issuers;
            *known = issuers;
            changed
        });
    }
}

fn tell(news: &IssuerNews, issuers: &ClusterIssuers) {
    let current = &issuers.current;
    match news {
        IssuerNews::Changed { former } => {
            info!(old = former, new = current, "the cluster's issuer has changed");
        }
        IssuerNews::Alternating { other } => warn!(
            current,
            other,
            "the API server names one issuer and then another: give all API servers of this cluster the same --service-account-issuer. Credentials of both stay, and new ones are made for the current one only"
        ),
    }
}
