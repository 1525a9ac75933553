//! What has been collected of all kinds, how well each is known, and what of it is published.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::SystemTime,
};

use ipnet::IpNet;
use tokio::sync::Notify;

use super::{
    kind::{Decoded, Kind, Resource},
    problem::{self, Problem},
};
use crate::cluster::model::{Inventory, Observation, SourceHealth};

/// Names of objects that are remembered as odd, for each kind.
const NAMES: usize = 100;

/// Objects of all kinds.
#[derive(Debug, Default)]
pub(super) struct Collected {
    /// All but the ranges.
    pub(super) inventory: Inventory,
    /// Ranges by the names of their objects.
    pub(super) cidrs: BTreeMap<String, Arc<Vec<IpNet>>>,
    /// What all of them count for.
    weight: usize,
}

/// What was left out of a kind.
#[derive(Debug, Default)]
pub(super) struct Notes {
    /// By the names of objects.
    odd: BTreeMap<String, String>,
    too_large: bool,
    beyond: bool,
}

impl Notes {
    /// What is odd about an object now; `None` if nothing is.
    fn odd(&mut self, name: String, text: Option<String>) {
        match text {
            Some(text) if self.odd.len() < NAMES => {
                self.odd.insert(name, text);
            }
            Some(_) => {}
            None => {
                self.odd.remove(&name);
            }
        }
    }

    /// An event was longer than is taken.
    pub(super) fn too_large(&mut self) {
        self.too_large = true;
    }

    fn text(&self, resource: Resource, limits: super::Limits) -> Option<String> {
        let plural = resource.plural();
        let mut texts = Vec::new();
        if let Some(first) = self.odd.values().next() {
            let (count, more) = (self.odd.len(), if self.odd.len() < NAMES { "" } else { " or more" });
            texts.push(format!("{count}{more} {plural} are odd: {first}"));
        }
        if self.too_large {
            texts.push(format!("{plural} of more than {} octets are left out", limits.event));
        }
        if self.beyond {
            texts.push(format!("there are more objects than are kept: some {plural} are left out"));
        }
        (!texts.is_empty()).then(|| texts.join("; "))
    }
}

/// A list of one kind as it comes in.
pub(super) struct Gathered<K: Kind> {
    objects: BTreeMap<K::Key, Arc<K::Model>>,
    weight: usize,
    limit: usize,
    notes: Notes,
}

impl<K: Kind> Gathered<K> {
    /// Nothing yet; at most `limit` objects and endpoints.
    pub(super) fn new(limit: usize) -> Self {
        Self { objects: BTreeMap::new(), weight: 0, limit, notes: Notes::default() }
    }

    /// Adds or replaces an object.
    pub(super) fn put(&mut self, object: Decoded<K>) {
        let Decoded { key, name, model, odd } = object;
        self.remove(&key);
        self.notes.odd(name, odd);
        let Some(model) = model else { return };
        let weight = K::weight(&model);
        if self.weight + weight > self.limit || self.objects.len() >= K::MOST {
            self.notes.beyond = true;
            return;
        }
        self.weight += weight;
        self.objects.insert(key, Arc::new(model));
    }

    /// Removes an object.
    pub(super) fn remove(&mut self, key: &K::Key) {
        if let Some(model) = self.objects.remove(key) {
            self.weight -= K::weight(&model);
        }
    }

    /// What was left out.
    pub(super) fn notes(&mut self) -> &mut Notes {
        &mut self.notes
    }
}

/// How a kind fares.
#[derive(Debug, Default)]
struct Standing {
    listed: bool,
    tried: bool,
    current_at: Option<SystemTime>,
    problem: Option<Problem>,
    notes: Notes,
}

#[derive(Debug)]
struct State {
    collected: Collected,
    standings: [Standing; 4],
    source: String,
    synced: bool,
    /// The inventory as published last; none after a change.
    published: Option<Arc<Inventory>>,
}

impl State {
    fn standing(&mut self, resource: Resource) -> &mut Standing {
        let [services, slices, nodes, cidrs] = &mut self.standings;
        match resource {
            Resource::Services => services,
            Resource::Slices => slices,
            Resource::Nodes => nodes,
            Resource::Cidrs => cidrs,
        }
    }
}

/// What the readers of all kinds share.
#[derive(Debug)]
pub(super) struct Shared {
    state: Mutex<State>,
    changed: Notify,
    limits: super::Limits,
}

impl Shared {
    /// Nothing collected yet from `source`.
    pub(super) fn new(source: String, limits: super::Limits) -> Self {
        let state = State {
            collected: Collected::default(),
            standings: Default::default(),
            source,
            synced: false,
            published: Some(Arc::default()),
        };
        Self { state: Mutex::new(state), changed: Notify::new(), limits }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until something has changed since the last time.
    pub(super) async fn changed(&self) {
        self.changed.notified().await;
    }

    /// How the source is called from now on.
    pub(super) fn set_source(&self, source: &str) {
        let mut state = self.lock();
        if state.source != source {
            source.clone_into(&mut state.source);
            self.changed.notify_one();
        }
    }

    /// A whole list has been read: what is not in it is gone.
    pub(super) fn replace<K: Kind>(&self, mut gathered: Gathered<K>) {
        let mut guard = self.lock();
        let state = &mut *guard;
        let old = std::mem::take(K::of(&mut state.collected));
        let mut changed = old.len() != gathered.objects.len();
        state.collected.weight -= old.values().map(|model| K::weight(model)).sum::<usize>();
        let room = self.limits.objects.saturating_sub(state.collected.weight);
        while gathered.weight > room {
            let Some((_, model)) = gathered.objects.pop_last() else { break };
            gathered.weight -= K::weight(&model);
            gathered.notes.beyond = true;
            changed = true;
        }
        for (key, model) in &mut gathered.objects {
            match old.get(key) {
                Some(known) if known == model => *model = Arc::clone(known),
                _ => changed = true,
            }
        }
        state.collected.weight += gathered.weight;
        *K::of(&mut state.collected) = gathered.objects;
        if changed {
            state.published = None;
        }
        let standing = state.standing(K::RESOURCE);
        standing.listed = true;
        standing.tried = true;
        standing.current_at = Some(SystemTime::now());
        standing.problem = None;
        standing.notes = gathered.notes;
        self.changed.notify_one();
    }

    /// An object was added or changed.
    pub(super) fn put<K: Kind>(&self, object: Decoded<K>) {
        let Decoded { key, name, model, odd } = object;
        let mut guard = self.lock();
        let state = &mut *guard;
        let objects = K::of(&mut state.collected);
        let old = objects.get(&key);
        let same = old.is_some_and(|old| model.as_ref() == Some(old));
        let freed = old.map_or(0, |old| K::weight(old));
        let needed = model.as_ref().map_or(0, K::weight);
        let room = freed > 0 || objects.len() < K::MOST;
        let fits = room && state.collected.weight - freed + needed <= self.limits.objects;
        let objects = K::of(&mut state.collected);
        match model {
            _ if same => {}
            Some(model) if fits => {
                objects.insert(key, Arc::new(model));
                state.collected.weight = state.collected.weight - freed + needed;
                state.published = None;
            }
            _ if freed > 0 => {
                objects.remove(&key);
                state.collected.weight -= freed;
                state.published = None;
            }
            _ => {}
        }
        let notes = &mut state.standing(K::RESOURCE).notes;
        notes.beyond |= needed > 0 && !fits;
        notes.odd(name, odd);
        self.changed.notify_one();
    }

    /// An object was removed.
    pub(super) fn remove<K: Kind>(&self, name: String, key: &K::Key) {
        let mut guard = self.lock();
        let state = &mut *guard;
        if let Some(model) = K::of(&mut state.collected).remove(key) {
            state.collected.weight -= K::weight(&model);
            state.published = None;
        }
        state.standing(K::RESOURCE).notes.odd(name, None);
        self.changed.notify_one();
    }

    /// The API has just shown that what is known of a kind is current.
    pub(super) fn current(&self, resource: Resource) {
        self.lock().standing(resource).current_at = Some(SystemTime::now());
        self.changed.notify_one();
    }

    /// An event was longer than is taken.
    pub(super) fn too_large(&self, resource: Resource) {
        self.lock().standing(resource).notes.too_large();
        self.changed.notify_one();
    }

    /// What keeps a kind from being read, or that nothing does any more.
    pub(super) fn trouble(&self, resource: Resource, problem: Option<Problem>) {
        let mut state = self.lock();
        let standing = state.standing(resource);
        let tried = standing.tried;
        standing.tried |= problem.is_some();
        if standing.problem != problem || standing.tried != tried {
            standing.problem = problem;
            self.changed.notify_one();
        }
    }

    /// What shall be published.
    pub(super) fn observe(&self) -> Observation {
        let mut guard = self.lock();
        let state = &mut *guard;
        state.synced |= Resource::ALL.into_iter().all(|resource| {
            let standing = state.standing(resource);
            standing.listed || (!resource.is_needed() && standing.tried)
        });
        let mut current_at: Vec<Option<SystemTime>> = Vec::new();
        let mut problems = Vec::new();
        let mut notes = Vec::new();
        for (resource, standing) in Resource::ALL.into_iter().zip(&state.standings) {
            if resource.is_needed() {
                current_at.push(standing.current_at);
            }
            if let Some(problem) = &standing.problem
                && !(resource == Resource::Cidrs && problem.is_tolerable())
            {
                problems.push((resource, problem));
            }
            notes.extend(standing.notes.text(resource, self.limits));
        }
        let texts: Vec<String> = problem::summary(&problems).into_iter().chain(notes).collect();
        let health = SourceHealth {
            source: state.source.clone(),
            synced: state.synced,
            // Without any of the kinds that are needed nothing is current: `None` is less than any time.
            current_at: current_at.into_iter().min().flatten(),
            problem: (!texts.is_empty()).then(|| texts.join("; ")),
        };
        if !state.synced {
            return Observation { inventory: Arc::default(), health };
        }
        let collected = &state.collected;
        let inventory = state.published.get_or_insert_with(|| {
            let mut inventory = collected.inventory.clone();
            inventory.service_cidrs =
                collected.cidrs.values().flat_map(|ranges| ranges.iter().copied()).collect();
            inventory.service_cidrs.sort();
            inventory.service_cidrs.dedup();
            Arc::new(inventory)
        });
        Observation { inventory: Arc::clone(inventory), health }
    }
}

#[cfg(test)]
mod tests;
