//! What a revocation pass goes by, and what comes of it.

use std::time::Duration;

use crate::api::RecordedCredential;
use crate::core::IdentityId;
use crate::core::reconcile::Obstacle;

/// Which entries a pass is about.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Due {
    /// Every entry that is due by the rules.
    All,
    /// Those with this subject, if it is denied.
    Denied(String),
    /// Those of these names, unless a binding wants them.
    Named(Vec<String>),
}

/// What has become of the binding that an entry was last wanted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Owner {
    /// It, or another one, wants the credential.
    Wants,
    /// It is there, and does not: its own pass takes the credential back.
    Present,
    /// It is not there any more.
    Absent,
}

/// An entry of the record, and what is known beside it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct OwnedEntry {
    /// The entry.
    pub recorded: RecordedCredential,
    /// Who wants it.
    pub owner: Owner,
    /// For how long nobody has been known to want it.
    pub unwanted_for: Duration,
}

/// What a pass goes by.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Situation {
    /// The identity.
    pub identity: IdentityId,
    /// The entries that this operator looks after.
    pub entries: Vec<OwnedEntry>,
    /// The cluster's issuer.
    pub issuer: String,
    /// Other issuers that sign tokens of this cluster as well.
    pub alternating_issuers: Vec<String>,
    /// Former issuers on record, and for how long they have been that.
    pub former_issuers: Vec<(String, Duration)>,
    /// How long a former issuer's credentials stay: the longest lifetime of a token.
    pub former_issuer_retention: Duration,
    /// How long an orphan stays.
    pub orphan_grace_period: Duration,
    /// What is to become of orphans.
    pub orphans: Orphans,
    /// Now, in seconds since 1970, to be put on record.
    pub now: i64,
    /// How old the list may be that a deletion is decided on.
    pub fresh: Duration,
}

impl Situation {
    /// Whether new tokens of this cluster may have this issuer.
    pub fn signs(&self, issuer: &str) -> bool {
        self.issuer == issuer || self.alternating_issuers.iter().any(|other| other == issuer)
    }
}

/// What is to become of orphans.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Orphans {
    /// They are removed when the grace period is over.
    Remove,
    /// There are too many at once for this to be anything but an accident: a person decides.
    Held,
    /// A person has decided: they go at once, also those that no record of ours had named.
    Confirmed,
}

/// Orphans that may be removed without anybody's word, however few credentials there are.
const FEW_ORPHANS: usize = 5;

impl Orphans {
    /// More orphans at once than a handful, and than a twentieth of all, are an accident: a restored
    /// backup, a definition that was deleted and made again, a script that strips finalizers.
    pub fn of(orphaned: usize, recorded: usize) -> Self {
        if orphaned > FEW_ORPHANS.max(recorded / 20) {
            Self::Held
        } else {
            Self::Remove
        }
    }
}

/// What has come of a pass.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Revoked {
    /// What is gone, in Azure and from the record.
    pub gone: Vec<(RecordedCredential, Why)>,
    /// What could not be removed, by name.
    pub obstacles: Vec<(Obstacle, String)>,
    /// Entries that nobody wants since this pass.
    pub orphaned: Vec<RecordedCredential>,
    /// When something becomes due by time alone.
    pub next: Option<Duration>,
    /// A grant could not be reviewed: it has to be asked again soon.
    pub unsure: bool,
}

/// Why a credential is taken back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Why {
    /// Its grant is gone.
    Denied,
    /// Its binding no longer wants it.
    Left,
    /// Nobody wants it.
    Orphaned,
    /// Its issuer is a former one.
    FormerIssuer,
}

impl Why {
    /// In words, for logs and events.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Denied => "its grant is gone",
            Self::Left => "its binding no longer wants it",
            Self::Orphaned => "no binding wants it",
            Self::FormerIssuer => "its issuer is a former one",
        }
    }
}

impl Revoked {
    /// The first obstacle, and the name of the credential that it concerns.
    pub fn first_obstacle(&self) -> Option<&(Obstacle, String)> {
        self.obstacles.first()
    }

    /// The longest wait that was asked for.
    pub fn wait(&self) -> Option<Duration> {
        self.obstacles.iter().filter_map(|(o, _)| o.wait).max()
    }

    /// All obstacles, each told once.
    pub fn told(&self) -> String {
        let mut told: Vec<&str> = Vec::new();
        for (obstacle, _) in &self.obstacles {
            if !told.contains(&obstacle.message.as_str()) {
                told.push(&obstacle.message);
            }
        }
        told.join("; ")
    }

    /// Takes in what has come of the pass on another identity.
    pub fn merge(&mut self, other: Self) {
        self.gone.extend(other.gone);
        self.obstacles.extend(other.obstacles);
        self.orphaned.extend(other.orphaned);
        self.unsure |= other.unsure;
    }
}
