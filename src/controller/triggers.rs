//! The watches, and what each of them sets off.

use std::sync::Arc;
use std::time::Duration;

use futures::{Stream, StreamExt, stream};
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::ServiceAccount;
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding};
use kube::core::PartialObjectMeta;
use kube::runtime::controller::{self, Controller};
use kube::runtime::reflector::store::Writer;
use kube::runtime::reflector::{self, Store};
use kube::runtime::watcher::{self, Event};
use kube::runtime::{Predicate, PredicateConfig, WatchStreamExt, predicates};
use kube::{Api, Client, Resource, ResourceExt};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tracing::{debug, error};

use super::authorize::Authorization;
use super::census::Census;
use super::context::{Context, Parts};
use super::index::Guarded;
use super::slots::Slots;
use super::watches::{self, Reconnect};
use super::{reconcile, service_account};

/// Changes of one object within this time are one visit. A new binding pays it twice: the finalizer
/// is a visit of its own.
const DEBOUNCE: Duration = Duration::from_millis(50);

/// Changes of grants within this time are one round: a chart brings many roles at once.
const GRANT_DEBOUNCE: Duration = Duration::from_millis(500);

/// When a round for changed grants is repeated. The API server that was asked in the first one may
/// have known of the change later than the one that told us of it.
const SECOND_LOOK: Duration = Duration::from_secs(10);

/// Bindings that wait to be named to the controller because a sibling changed. When it is full
/// the watch waits.
const SIBLING_QUEUE: usize = 256;

/// Runs the controller until `shutdown` is cancelled and the visits under way have ended.
///
/// `synced` is called once when bindings and ServiceAccounts are known.
pub async fn run(parts: Parts, shutdown: CancellationToken, synced: impl FnOnce() + Send + 'static) {
    let client = parts.client.clone();
    let namespace = parts.namespace.clone();
    let authorization = parts.authorization;
    let issuer = parts.issuer.clone();
    let watching = watches::lasting(parts.watch_timeout);

    let (accounts, accounts_writer) = reflector::store();
    let (bindings, bindings_writer) = reflector::store::<Guarded>();
    let (know, known) = watch::channel(false);
    let (siblings, touched) = mpsc::channel(SIBLING_QUEUE);
    let context = Arc::new(Context::new(
        parts,
        Slots::new(siblings.clone()),
        bindings.clone(),
        accounts.clone(),
        known,
        shutdown.clone(),
    ));

    let binding_stream = {
        let context = context.clone();
        let api: Api<Guarded> = scoped(&client, namespace.as_deref());
        watches::watch(api, watching.clone())
            .modify(|object| object.meta_mut().managed_fields = None)
            .backoff(Reconnect::default())
            .then(move |event| {
                if let Ok(Event::Delete(object)) = &event {
                    context
                        .memory
                        .forget(object.meta().uid.as_deref().unwrap_or_default());
                }
                let touched = event
                    .as_ref()
                    .map(|e| context.index.update(e))
                    .unwrap_or_default();
                let siblings = siblings.clone();
                async move {
                    for sibling in touched {
                        // Fails only when the controller is gone.
                        let _ = siblings.send(sibling).await;
                    }
                    event
                }
            })
            .reflect(bindings_writer)
            .applied_objects()
            .predicate_filter(
                predicates::generation
                    .combine(predicates::finalizers)
                    .combine(predicates::annotations),
                PredicateConfig::default(),
            )
            .filter_map(|event| watches::unbroken("bindings", event))
    };
    let accounts_api = scoped(&client, namespace.as_deref());
    let account_stream = watch_accounts(accounts_api, watching.clone(), accounts_writer);
    let named = {
        let context = context.clone();
        move |account: Account| {
            context
                .index
                .naming(&account.namespace().unwrap_or_default(), &account.name_any())
        }
    };

    let (bump, everything) = watch::channel(());
    let watching_grants = watch_grants(client, watching, authorization, bump.clone());
    let watching_issuer = watch_issuer(issuer, bump);
    context.parts.observer.limited(context.parts.concurrency);
    let (observer, census) = (context.parts.observer.clone(), Census::of(&context));
    let ready = announce(bindings.clone(), accounts, move || {
        know.send_replace(true);
        observer.listed(census);
        synced();
    });

    // How many work at a time is decided by turns, fairly between namespaces.
    let config = controller::Config::default().debounce(DEBOUNCE);
    let visits = Controller::for_stream(binding_stream, bindings)
        .with_config(config)
        .watches_stream(account_stream, named)
        .reconcile_on(stream::unfold(touched, |mut rx| async move {
            rx.recv().await.map(|r| (r, rx))
        }))
        .reconcile_all_on(coalesced(everything))
        .graceful_shutdown_on(shutdown.clone().cancelled_owned())
        .run(
            reconcile::reconcile,
            |object, error, context| reconcile::retry(&object, error, &context),
            context,
        )
        .for_each(|result| async move {
            match result {
                Ok((object, action)) => debug!(%object, ?action, "visited"),
                // Already told, with its reason, where the retry was decided.
                Err(controller::Error::ReconcilerFailed(..)) => {}
                Err(gone @ controller::Error::ObjectNotFound(_)) => debug!("{gone}"),
                Err(failed) => error!("{failed}"),
            }
        });
    tokio::select! {
        () = visits => {}
        // None of these ends before the process does.
        () = async { tokio::join!(watching_grants, watching_issuer, ready); std::future::pending::<()>().await } => {}
    }
}

type Account = PartialObjectMeta<ServiceAccount>;

fn watch_accounts(
    api: Api<Account>,
    watching: watcher::Config,
    writer: Writer<Account>,
) -> impl Stream<Item = Result<Account, watcher::Error>> + Send {
    watches::watch(api, watching)
        .modify(service_account::prune)
        .backoff(Reconnect::default())
        .reflect(writer)
        .touched_objects()
        .filter_map(|event| watches::unbroken("ServiceAccounts", event))
}

fn scoped<K>(client: &Client, namespace: Option<&str>) -> Api<K>
where
    K: Resource<Scope = NamespaceResourceScope>,
    K::DynamicType: Default,
{
    namespace.map_or_else(
        || Api::all(client.clone()),
        |ns| Api::namespaced(client.clone(), ns),
    )
}

async fn announce<A, B>(bindings: Store<A>, accounts: Store<B>, synced: impl FnOnce())
where
    A: reflector::Lookup + Clone + 'static,
    A::DynamicType: Eq + std::hash::Hash + Clone,
    B: reflector::Lookup + Clone + 'static,
    B::DynamicType: Eq + std::hash::Hash + Clone,
{
    let known = tokio::join!(bindings.wait_until_ready(), accounts.wait_until_ready());
    if known.0.is_ok() && known.1.is_ok() {
        synced();
    }
}

/// A grant that comes or goes makes every binding be looked at again. Metadata only: what a role
/// says is the API server's business, which is asked for every binding.
async fn watch_grants(
    client: Client,
    watching: watcher::Config,
    authorization: Authorization,
    bump: watch::Sender<()>,
) {
    if authorization == Authorization::None {
        return;
    }
    let roles = Api::<PartialObjectMeta<ClusterRole>>::all(client.clone());
    let role_bindings = Api::<PartialObjectMeta<ClusterRoleBinding>>::all(client);
    let roles = watches::changes("ClusterRoles", roles, watching.clone());
    let role_bindings = watches::changes("ClusterRoleBindings", role_bindings, watching);
    stream::select(roles.boxed(), role_bindings.boxed())
        .for_each(|()| async { bump.send_replace(()) })
        .await;
}

async fn watch_issuer(mut issuer: watch::Receiver<String>, bump: watch::Sender<()>) {
    while issuer.changed().await.is_ok() {
        bump.send_replace(());
    }
}

/// One item for any number of bumps within the debounce time, and one more when all is quiet again.
fn coalesced(bumps: watch::Receiver<()>) -> impl Stream<Item = ()> {
    stream::unfold((bumps, false), |(mut bumps, again)| async move {
        let quiet = async {
            if !again {
                std::future::pending::<()>().await;
            }
            tokio::time::sleep(SECOND_LOOK).await;
        };
        tokio::select! {
            changed = bumps.changed() => changed.ok()?,
            () = quiet => return Some(((), (bumps, false))),
        }
        tokio::time::sleep(GRANT_DEBOUNCE).await;
        bumps.mark_unchanged();
        Some(((), (bumps, true)))
    })
}
