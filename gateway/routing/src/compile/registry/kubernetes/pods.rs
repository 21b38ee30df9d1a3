//! Pods: the labels of who answers at an endpoint, and the workload's name.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use crate::compile::objects::Of;
use crate::compile::registry::workload::{Selectable, workload};
use crate::compile::registry::{Address, Labels, Member, labels};
use crate::compile::small::SmallMap;
use crate::origin::At;
use crate::snapshot::{Locality, Workload};
use crate::wire::Document;
use crate::wire::kubernetes::{OwnerReference, Pod, PodCondition, PodMetadata, PodStatus, TargetRef};

/// Every Pod, by what endpoints know of it.
pub(super) struct Pods<'s> {
    all: Vec<Behind<'s>>,
    /// Indices of `all`, by namespace and name.
    by_name: BTreeMap<(&'s str, &'s str), usize>,
    /// Indices of `all`, by namespace and address.
    by_address: BTreeMap<(&'s str, IpAddr), usize>,
}

/// Who is behind an endpoint.
pub(super) struct Behind<'s> {
    document: &'s Document,
    pub(super) labels: Arc<Labels>,
    pub(super) workload: Arc<Workload>,
    /// What label `istio-locality` says.
    pub(super) locality: Option<Arc<Locality>>,
    /// Its address, if it takes requests.
    ready_at: Option<IpAddr>,
}

impl<'s> Pods<'s> {
    pub(super) fn read(written: &[Of<'s, Pod>]) -> Self {
        let mut pods = Pods { all: Vec::new(), by_name: BTreeMap::new(), by_address: BTreeMap::new() };
        for &(document, pod) in written {
            let name = &document.object.name;
            let index = pods.all.len();
            pods.by_name.insert((&*name.namespace, &*name.name), index);
            if let Some(address) = address_of(pod) {
                pods.by_address.entry((&*name.namespace, address)).or_insert(index);
            }
            pods.all.push(read(document, pod));
        }
        pods
    }

    /// The Pod behind an endpoint: the one that it names, else, as Istio does for endpoints that are written by hand,
    /// the one that has its address.
    pub(super) fn behind(
        &self,
        namespace: &str,
        target: Option<&At<TargetRef>>,
        address: IpAddr,
    ) -> Option<&Behind<'s>> {
        let index = match named_pod(namespace, target) {
            Some(name) => self.by_name.get(&name?),
            None => self.by_address.get(&(namespace, address)),
        };
        self.all.get(*index?)
    }

    /// The Pods as a ServiceEntry's selector chooses among them; one that is not ready is no endpoint.
    pub(super) fn selectable(&self) -> impl Iterator<Item = Selectable<'s>> {
        self.all.iter().map(|pod| Selectable {
            document: pod.document,
            labels: (*pod.labels).clone(),
            member: pod.ready_at.map(|address| Member {
                address: Address::Ip(address),
                ports: SmallMap::default(),
                targets: SmallMap::default(),
                labels: pod.labels.clone(),
                workload: pod.workload.clone(),
                weight: 1,
                locality: pod.locality.clone().unwrap_or_default(),
                probe: None,
            }),
            titles: vec![pod.document.object.title()],
        })
    }
}

/// Namespace and name of the Pod that an endpoint names, if it names one; one without a name is none.
pub(super) fn named_pod<'s>(
    namespace: &'s str,
    target: Option<&'s At<TargetRef>>,
) -> Option<Option<(&'s str, &'s str)>> {
    let TargetRef { kind, name, namespace: of } = &target?.value;
    let namespace = of.as_ref().map_or(namespace, |of| of.as_str());
    is(kind.as_ref(), "Pod").then(|| Some((namespace, name.as_ref()?.as_str())))
}

/// The address that a Pod has.
pub(in crate::compile::registry) fn address_of(pod: &Pod) -> Option<IpAddr> {
    pod.status.as_ref().and_then(|status| address(&status.value))
}

fn read<'s>(document: &'s Document, pod: &'s Pod) -> Behind<'s> {
    let Pod { metadata, status } = pod;
    let (owners, ends) = match metadata.as_ref().map(|metadata| &metadata.value) {
        Some(PodMetadata { owner_references, deletion_timestamp }) => {
            (&**owner_references, deletion_timestamp.is_some())
        }
        None => (&[][..], false),
    };
    let name = &document.object.name;
    let labels = labels(document.object.labels.iter());
    let owner: Arc<str> = owner(owners, &labels).unwrap_or(&name.name).into();
    let locality = labels.get("istio-locality").filter(|written| !written.is_empty());
    let ready = |status: &&At<PodStatus>| !ends && is_ready(&status.value);
    Behind {
        document,
        workload: Arc::new(workload(&labels, Some(&owner), &name.namespace, &owner)),
        // A label's value has no slash, so Istio takes dots for them.
        locality: locality.map(|written| Arc::new(Locality::parse(&written.replace('.', "/")))),
        labels: Arc::new(labels),
        ready_at: status.as_ref().filter(ready).and_then(|status| address(&status.value)),
    }
}

/// The name of the workload that a Pod is of (Istio `GetDeployMetaFromPod`): its controller's, where a ReplicaSet's
/// name without the hash is its Deployment's, or its Rollout's.
fn owner<'p>(owners: &'p [At<OwnerReference>], labels: &Labels) -> Option<&'p str> {
    let controller = owners.iter().map(|owner| &owner.value).find(|owner| {
        let OwnerReference { kind: _, name: _, controller } = owner;
        controller.as_ref().is_some_and(|controller| controller.value)
    });
    let OwnerReference { kind, name, controller: _ } = controller?;
    let name = name.as_ref()?.as_str();
    let hash =
        ["pod-template-hash", "rollouts-pod-template-hash"].into_iter().find_map(|key| labels.get(key));
    let of_replica_set = hash
        .filter(|hash| is(kind.as_ref(), "ReplicaSet") && !hash.is_empty())
        .and_then(|hash| name.strip_suffix(&**hash)?.strip_suffix('-'));
    Some(of_replica_set.filter(|name| !name.is_empty()).unwrap_or(name))
}

fn address(status: &PodStatus) -> Option<IpAddr> {
    status.pod_ip.as_ref()?.parse().ok()
}

/// Whether a Pod takes requests, as far as is said.
fn is_ready(status: &PodStatus) -> bool {
    let PodStatus { pod_ip: _, phase, conditions } = status;
    let ends = ["Succeeded", "Failed"].iter().any(|end| is(phase.as_ref(), end));
    let ready = conditions.iter().map(|condition| &condition.value).find_map(|condition| {
        let PodCondition { kind, status } = condition;
        is(kind.as_ref(), "Ready").then(|| is(status.as_ref(), "True"))
    });
    !ends && ready.unwrap_or(true)
}

fn is(written: Option<&At<String>>, wanted: &str) -> bool {
    written.is_some_and(|written| written.value == wanted)
}
