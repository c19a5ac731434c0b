//! The watches, and what each of them sets off.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::{Stream, StreamExt, TryStreamExt, stream};
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::ServiceAccount;
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding};
use kube::core::PartialObjectMeta;
use kube::runtime::WatchStreamExt;
use kube::runtime::controller::{self, Controller};
use kube::runtime::reflector::store::Writer;
use kube::runtime::reflector::{self, ObjectRef, Store};
use kube::runtime::watcher::{self, Event};
use kube::{Api, Client, Resource, ResourceExt};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tracing::{debug, error};

use super::accounts::{self, Annotating, JustDeleted};
use super::authorize::Authorization;
use super::capacity::Capacity;
use super::context::{Context, Parts};
use super::expectations::Expectations;
use super::index::{Guarded, Index};
use super::records::{self, Records};
use super::revision::{self, StorageRevision};
use super::service_account::AccountMeta;
use super::state_snapshot::StateSnapshot;
use super::watches::{self, Reconnect};
use super::{identities, reconcile, service_account};
use crate::api::ManagedIdentity;
use crate::core::issuers::ClusterIssuers;
use crate::fairness::FairSemaphore;

/// Changes of grants within this time are one round: a chart brings many roles at once.
const GRANT_DEBOUNCE: Duration = Duration::from_millis(500);

/// When a round for changed grants is repeated. The API server that was asked in the first one may
/// have known of the change later than the one that told us of it.
const SECOND_LOOK: Duration = Duration::from_secs(10);

/// Bindings and records that wait to be named to their controller because something else changed. When it
/// is full the watch waits.
const QUEUE: usize = 1024;

/// Runs the controller until `shutdown` is cancelled and the passes under way have ended.
///
/// `synced` is called once when bindings, records and ServiceAccounts are known.
///
/// A reconcile of the library begins at once after a change, and once more after it for all changes that
/// came meanwhile: no debounce, whose time begins anew with every change, so that whoever patches without
/// end would put it off for ever.
pub async fn run(parts: Parts, shutdown: CancellationToken, synced: impl FnOnce() + Send + 'static) {
    let client = parts.client.clone();
    let namespace = parts.namespace.clone();
    let authorization = parts.authorization;
    let issuer = parts.issuer.clone();
    let watching = watches::lasting(parts.watch_timeout);

    let (accounts, accounts_writer) = reflector::store();
    let (bindings, bindings_writer) = reflector::store::<Guarded>();
    let (records, records_writer) = reflector::store::<ManagedIdentity>();
    let (know, known) = watch::channel(false);
    let (wake_bindings, woken_bindings) = mpsc::channel(QUEUE);
    let (wake_identities, woken_identities) = mpsc::channel(QUEUE);
    let counting = parts.metrics.clone();
    let revision = Arc::new(StorageRevision::new(move || counting.storage_restored()));
    let context = Arc::new(Context {
        recorder: Context::recorder(&parts),
        index: Index::new(parts.defaults.clone()),
        records: Records::new(client.clone(), namespace.clone(), revision.clone()),
        revision: revision.clone(),
        expectations: Expectations::default(),
        permits: FairSemaphore::new(usize::from(parts.concurrency)),
        capacity: Capacity::default(),
        annotating: Annotating::default(),
        just_deleted: JustDeleted::default(),
        unwanted: Mutex::new(HashMap::new()),
        identity_failures: Mutex::new(HashMap::new()),
        stopping: shutdown.clone(),
        bindings: bindings.clone(),
        service_accounts: accounts.clone(),
        synced: known,
        wake_bindings,
        wake_identities,
        parts,
    });

    let (bump, everything) = watch::channel(());
    let watching_grants = watch_grants(
        client.clone(),
        watching.clone(),
        authorization,
        &revision,
        bump.clone(),
    );
    let watching_issuer = watch_issuer(issuer, bump);
    context.parts.metrics.limited(context.parts.concurrency);
    let (metrics, weak) = (context.parts.metrics.clone(), Arc::downgrade(&context));
    let ready = announce(bindings.clone(), records.clone(), accounts, move || {
        know.send_replace(true);
        metrics.listed(move || weak.upgrade().map(|context| StateSnapshot::of(&context)));
        synced();
    });

    let binding_stream = watch_bindings(
        &context,
        scoped(&client, namespace.as_deref()),
        &watching,
        bindings_writer,
    );
    let account_stream = watch_accounts(
        &context,
        scoped(&client, namespace.as_deref()),
        &watching,
        accounts_writer,
    );
    let record_stream = watch_records(&context, Api::all(client), &watching, records_writer);
    let probing = revision::probe(context.clone());
    let named = {
        let context = context.clone();
        move |account: AccountMeta| {
            context
                .index
                .naming(&account.namespace().unwrap_or_default(), &account.name_any())
        }
    };
    // How many work at a time is decided by permits, fairly between namespaces.
    let of_bindings = Controller::for_stream(binding_stream, bindings)
        .watches_stream(account_stream, named)
        .reconcile_on(received(woken_bindings))
        .reconcile_all_on(coalesced(everything.clone()))
        .graceful_shutdown_on(shutdown.clone().cancelled_owned())
        .run(
            reconcile::reconcile,
            |_, error, _| reconcile::never(error),
            context.clone(),
        )
        .for_each(ended);
    let of_identities = Controller::for_stream(record_stream, records)
        .reconcile_on(received(woken_identities))
        .reconcile_all_on(coalesced(everything))
        .graceful_shutdown_on(shutdown.clone().cancelled_owned())
        .run(
            identities::reconcile,
            |_, error, _| identities::never(error),
            context,
        )
        .for_each(ended);
    let both = async { tokio::join!(of_bindings, of_identities) };
    tokio::select! {
        _ = both => {}
        // None of these ends before the process does.
        () = async { tokio::join!(watching_grants, watching_issuer, probing, ready); std::future::pending::<()>().await } => {}
    }
}

async fn ended<K: std::fmt::Display, E: std::error::Error + 'static, Q: std::error::Error + 'static>(
    result: Result<(K, controller::Action), controller::Error<E, Q>>,
) {
    match result {
        Ok((object, action)) => debug!(%object, ?action, "reconciled"),
        Err(gone @ controller::Error::ObjectNotFound(_)) => debug!("{gone}"),
        Err(failed) => error!("{failed}"),
    }
}

fn received<T: Send + 'static>(receiver: mpsc::Receiver<T>) -> impl Stream<Item = T> + Send {
    stream::unfold(receiver, |mut rx| async move {
        rx.recv().await.map(|item| (item, rx))
    })
}

/// Every binding that makes a pass worth its while.
fn watch_bindings(
    context: &Arc<Context>,
    api: Api<Guarded>,
    watching: &watcher::Config,
    writer: Writer<Guarded>,
) -> impl Stream<Item = Result<Guarded, watcher::Error>> + Send + use<> {
    let (taking_in, asking) = (context.clone(), context.clone());
    watches::watch(api, watching.clone(), context.revision.restores())
        .modify(|object| object.meta_mut().managed_fields = None)
        .backoff(Reconnect::default())
        .then(move |event| {
            let context = taking_in.clone();
            async move {
                if let Ok(event) = &event {
                    take_in(&context, event).await;
                }
                event
            }
        })
        .reflect(writer)
        .applied_objects()
        .filter_map(move |event| {
            let asks = event.as_ref().map_or(true, |object| asking.index.asks(object));
            let event = asks.then_some(event);
            async move { event }
        })
        .filter_map(|event| watches::unbroken("bindings", event))
}

/// Keeps the index in step, and wakes whom a change concerns beside the binding itself.
async fn take_in(context: &Context, event: &Event<Guarded>) {
    let uid = |object: &Guarded| object.meta().uid.clone().unwrap_or_default();
    match event {
        Event::Apply(object) | Event::InitApply(object) => context.expectations.seen(&uid(object)),
        Event::Delete(object) => context.expectations.forget(&uid(object)),
        Event::Init => context.expectations.listing(),
        Event::InitDone => {}
    }
    let touched = context.index.update(event);
    if matches!(event, Event::InitDone) {
        context.expectations.listed(&context.index.uids());
    }
    for binding in touched.bindings {
        // Fails only when the controller is gone.
        let _ = context.wake_bindings.send(binding).await;
    }
    for identity in touched.identities {
        if let Some(record) = context.records.get(&identity) {
            let _ = context.wake_identities.send(ObjectRef::from_obj(&*record)).await;
        }
    }
}

/// Every record when it is listed, and those that somebody else has written on: a person's annotation, or
/// another operator. Our own writes set nothing off.
fn watch_records(
    context: &Arc<Context>,
    api: Api<ManagedIdentity>,
    watching: &watcher::Config,
    writer: Writer<ManagedIdentity>,
) -> impl Stream<Item = Result<ManagedIdentity, watcher::Error>> + Send + use<> {
    let context = context.clone();
    let filtering = context.clone();
    watches::watch(api, watching.clone(), context.revision.restores())
        .modify(records::prune)
        .backoff(Reconnect::default())
        .then(move |event| {
            let context = context.clone();
            async move {
                let lost = event.as_ref().map(|event| context.records.update(event));
                for lost in lost.unwrap_or_default() {
                    context.records.restore(lost).await;
                }
                event
            }
        })
        .reflect(writer)
        .applied_objects()
        .filter_map(move |event| {
            let is_news = event
                .as_ref()
                .map_or(true, |object| filtering.records.is_news(object));
            let event = is_news.then_some(event);
            async move { event }
        })
        .filter_map(|event| watches::unbroken("ManagedIdentities", event))
}

fn watch_accounts(
    context: &Arc<Context>,
    api: Api<AccountMeta>,
    watching: &watcher::Config,
    writer: Writer<AccountMeta>,
) -> impl Stream<Item = Result<AccountMeta, watcher::Error>> + Send + use<> {
    let context = context.clone();
    watches::watch(api, watching.clone(), context.revision.restores())
        .modify(service_account::prune)
        .backoff(Reconnect::default())
        .inspect_ok(move |event| match event {
            Event::Init => context.expectations.listing_accounts(),
            Event::InitDone => context.expectations.listed_accounts(),
            Event::Delete(account) => accounts::deleted(&context, account),
            Event::Apply(_) | Event::InitApply(_) => {}
        })
        .reflect(writer)
        .applied_objects()
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

async fn announce(
    bindings: Store<Guarded>,
    records: Store<ManagedIdentity>,
    accounts: Store<PartialObjectMeta<ServiceAccount>>,
    synced: impl FnOnce(),
) {
    let known = tokio::join!(
        bindings.wait_until_ready(),
        records.wait_until_ready(),
        accounts.wait_until_ready()
    );
    if known.0.is_ok() && known.1.is_ok() && known.2.is_ok() {
        synced();
    }
}

/// A grant that comes or goes makes every binding and every record be looked at again. Metadata only: what
/// a role says is the API server's business, which is asked for every binding.
async fn watch_grants(
    client: Client,
    watching: watcher::Config,
    authorization: Authorization,
    revision: &StorageRevision,
    bump: watch::Sender<()>,
) {
    if authorization == Authorization::None {
        return;
    }
    let roles = Api::<PartialObjectMeta<ClusterRole>>::all(client.clone());
    let role_bindings = Api::<PartialObjectMeta<ClusterRoleBinding>>::all(client);
    let roles = watches::changes("ClusterRoles", roles, watching.clone(), revision.restores());
    let restores = revision.restores();
    let role_bindings = watches::changes("ClusterRoleBindings", role_bindings, watching, restores);
    stream::select(roles.boxed(), role_bindings.boxed())
        .for_each(|()| async { bump.send_replace(()) })
        .await;
}

async fn watch_issuer(mut issuer: watch::Receiver<ClusterIssuers>, bump: watch::Sender<()>) {
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
