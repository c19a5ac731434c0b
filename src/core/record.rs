//! The record of an identity: what this cluster's operators have made on it. Pure.
//!
//! The record is the only proof of ownership. It stands in an object that no tenant can write
//! ([`ManagedIdentity`](crate::api::ManagedIdentity)), and it is written before the credential is: what is
//! not on record was not made by this cluster, and what is on record is taken back when its grant goes,
//! whatever has become of the binding.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::credential::{self, MAX_PER_IDENTITY};
use super::{Credential, Holdings, Identity, Tuple};
use crate::api::{CredentialState, FormerIssuer, ManagedIdentityStatus, RecordedCredential};

/// One change of a record. All of them are idempotent: applied twice, they change nothing more.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Change {
    /// A binding wants this credential: it is about to be written, or stands already.
    Want {
        /// The credential.
        credential: Credential,
        /// Name of the binding, in the namespace of the subject.
        binding: String,
    },
    /// The credential of this name is in this state. Nothing if there is none.
    Mark {
        /// Name of the credential.
        name: String,
        /// Its state.
        state: CredentialState,
    },
    /// One with our mark stands on the identity, and was not on record.
    Found(Credential),
    /// Azure has confirmed that the credential of this name is gone.
    Gone {
        /// Name of the credential.
        name: String,
    },
    /// Tokens of this cluster have another issuer than this one, noticed at this time (in whole seconds).
    Retire {
        /// The former issuer.
        issuer: String,
        /// When that was noticed, in seconds since 1970.
        at: i64,
    },
    /// This is the cluster's issuer, again.
    Reinstate {
        /// The issuer.
        issuer: String,
    },
    /// What Azure says of the identity, and how many credentials it holds that are not on record.
    Seen {
        /// The identity.
        identity: Identity,
        /// Credentials of others.
        others: usize,
    },
}

/// Applies changes to a record.
pub fn apply(record: &mut ManagedIdentityStatus, changes: &[Change]) {
    let mut others = others(record);
    for change in changes {
        match change {
            Change::Want { credential, binding } => {
                put(record, recorded(credential, binding, CredentialState::Wanted));
            }
            Change::Found(credential) => {
                if !record.credentials.iter().any(|c| c.name == credential.name) {
                    put(record, recorded(credential, "", CredentialState::Orphaned));
                }
            }
            Change::Mark { name, state } => {
                let marked = record.credentials.iter_mut().find(|c| c.name == *name);
                if let Some(marked) = marked {
                    marked.state = *state;
                }
            }
            Change::Gone { name } => record.credentials.retain(|c| c.name != *name),
            Change::Retire { issuer, at } => {
                let known = record.former_issuers.iter().any(|f| f.issuer == *issuer);
                if let (false, Ok(at)) = (known, Timestamp::from_second(*at)) {
                    record.former_issuers.push(FormerIssuer {
                        issuer: issuer.clone(),
                        retired_at: Time(at),
                    });
                }
            }
            Change::Reinstate { issuer } => record.former_issuers.retain(|f| f.issuer != *issuer),
            Change::Seen {
                identity,
                others: seen,
            } => {
                record.client_id = Some(identity.client_id.clone());
                record.principal_id = Some(identity.principal_id.clone());
                record.tenant_id = Some(identity.tenant_id.clone());
                others = Some(*seen);
            }
        }
    }
    let issuers: Vec<String> = record.credentials.iter().map(|c| c.issuer.clone()).collect();
    record.former_issuers.retain(|f| issuers.contains(&f.issuer));
    let count = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
    record.ours = count(record.credentials.len());
    let orphaned = record
        .credentials
        .iter()
        .filter(|c| c.state == CredentialState::Orphaned);
    record.orphaned = count(orphaned.count());
    record.held = others.map(|others| format!("{}/{MAX_PER_IDENTITY}", others + record.credentials.len()));
}

/// The changes without those that take an entry off which must stay: somebody may have begun to write its
/// credential again since that was deleted. Who asked for such a change has to look again.
pub fn allowed(changes: &[Change], may_leave: impl Fn(&str) -> bool) -> Vec<Change> {
    let stays = |change: &&Change| !matches!(change, Change::Gone { name } if !may_leave(name));
    changes.iter().filter(stays).cloned().collect()
}

/// The changes that make these entries of a record again, which was lost as a whole.
pub fn restored<'a>(
    lost: &ManagedIdentityStatus,
    entries: impl Iterator<Item = &'a RecordedCredential>,
) -> Vec<Change> {
    let mut changes = Vec::new();
    for entry in entries {
        changes.push(Change::Want {
            credential: Credential {
                name: entry.name.clone(),
                tuple: tuple(entry),
            },
            binding: entry.binding.clone(),
        });
        changes.push(Change::Mark {
            name: entry.name.clone(),
            state: entry.state,
        });
    }
    changes.extend(lost.former_issuers.iter().map(|former| Change::Retire {
        issuer: former.issuer.clone(),
        at: former.retired_at.0.as_second(),
    }));
    if let (Some(client_id), Some(principal_id), Some(tenant_id), Some(others)) =
        (&lost.client_id, &lost.principal_id, &lost.tenant_id, others(lost))
    {
        let identity = Identity {
            client_id: client_id.clone(),
            principal_id: principal_id.clone(),
            tenant_id: tenant_id.clone(),
        };
        changes.push(Change::Seen { identity, others });
    }
    changes
}

/// How many credentials of others a record counts; `None` before the identity was read.
fn others(record: &ManagedIdentityStatus) -> Option<usize> {
    let held: usize = record.held.as_deref()?.split_once('/')?.0.parse().ok()?;
    Some(held.saturating_sub(record.credentials.len()))
}

fn put(record: &mut ManagedIdentityStatus, entry: RecordedCredential) {
    match record.credentials.iter_mut().find(|c| c.name == entry.name) {
        Some(known) => *known = entry,
        None => record.credentials.push(entry),
    }
}

fn recorded(credential: &Credential, binding: &str, state: CredentialState) -> RecordedCredential {
    RecordedCredential {
        name: credential.name.clone(),
        issuer: credential.tuple.issuer.clone(),
        subject: credential.tuple.subject.clone(),
        audience: credential.tuple.audience.clone(),
        binding: binding.to_owned(),
        state,
    }
}

/// The tuple that an entry stands for.
pub fn tuple(entry: &RecordedCredential) -> Tuple {
    Tuple {
        issuer: entry.issuer.clone(),
        subject: entry.subject.clone(),
        audience: entry.audience.clone(),
    }
}

/// Namespace and name of the ServiceAccount that an entry is for.
pub fn service_account(entry: &RecordedCredential) -> Option<(&str, &str)> {
    credential::service_account(&entry.subject)
}

/// Whether the record already says that this binding wants this credential.
pub fn is_wanted(entries: &[RecordedCredential], credential: &Credential, binding: &str) -> bool {
    let wanted = recorded(credential, binding, CredentialState::Wanted);
    entries.contains(&wanted)
}

/// Credentials on the identity that carry our mark and are not on record: those whose name holds the hash
/// of what they trust, for an issuer of this cluster and a namespace that this operator looks after.
///
/// A record that was deleted by hand is rebuilt from them, and a write that Azure carried out after it had
/// been given up shows here.
pub fn unrecorded(
    entries: &[RecordedCredential],
    holdings: &Holdings,
    issuers: &[String],
    namespace: Option<&str>,
) -> Vec<Credential> {
    let is_ours = |c: &&Credential| {
        let account = c.tuple.service_account();
        c.carries_our_hash()
            && !c.is_aks_identity_binding()
            && issuers.contains(&c.tuple.issuer)
            && account.is_some_and(|(ns, _)| namespace.is_none_or(|only| only == ns))
            && entries.iter().all(|e| e.name != c.name)
    };
    holdings.credentials.iter().filter(is_ours).cloned().collect()
}

/// How many credentials on the identity are not on record.
pub fn others_on(entries: &[RecordedCredential], holdings: &Holdings) -> usize {
    let ours = |name: &str| entries.iter().any(|e| e.name == name);
    let readable = holdings.credentials.iter().filter(|c| !ours(&c.name)).count();
    let unreadable = holdings.unreadable.iter().filter(|name| !ours(name)).count();
    readable + unreadable
}

#[cfg(test)]
mod tests;
