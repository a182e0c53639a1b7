//! Random histories of three groups against a model that keeps everything in plain lists.

use std::collections::BTreeMap;

use env::SplitMix;
use proptest::prelude::*;

use super::*;

/// A group as the model has it.
#[derive(Clone, Debug, Default, PartialEq)]
struct GroupModel {
    hard_state: HardState,
    mark: SnapshotMark,
    entries: Vec<Entry>,
}

type Model = BTreeMap<GroupId, GroupModel>;

impl GroupModel {
    fn last(&self) -> EntryId {
        self.entries.last().map_or(self.mark.last, |entry| entry.id)
    }

    fn apply(&mut self, persist: &Persist) {
        if let Some(write) = &persist.mark {
            if write.reset {
                self.entries.clear();
            }
            self.entries.retain(|entry| entry.id.index > write.mark.last.index);
            self.mark = (*write.mark).clone();
        }
        if let Some(hard_state) = persist.hard_state {
            self.hard_state = hard_state;
        }
        if let Some(first) = persist.entries.first() {
            self.entries.retain(|entry| entry.id.index < first.id.index);
            self.entries.extend(persist.entries.iter().cloned());
        }
    }
}

/// A persist that the core could ask for.
fn random_persist(group: &GroupModel, dice: &mut SplitMix) -> Persist {
    let mut persist = empty_persist();
    let mut term = group.hard_state.current_term.0.max(1);
    let (mut mark, mut last) = (group.mark.last, group.last());
    if dice.below(4) == 0 {
        term += 1;
        let voted_for = (dice.below(2) == 0).then(|| NodeId(dice.below(3)));
        persist.hard_state = Some(HardState { current_term: Term(term), voted_for });
    }
    match dice.below(8) {
        0 if last.index > mark.index => {
            let at = mark.index.0 + 1 + dice.below(last.index.0 - mark.index.0);
            let entry = group.entries.iter().find(|entry| entry.id.index.0 == at);
            mark = entry.expect("the model's log has no hole").id;
            persist.mark =
                Some(MarkWrite { mark: mark_of(mark.term.0, mark.index.0).into(), reset: false });
        }
        1 if dice.below(4) == 0 => {
            mark = EntryId::new(term, last.index.0 + dice.below(5));
            last = mark;
            persist.mark =
                Some(MarkWrite { mark: mark_of(term, mark.index.0).into(), reset: true });
        }
        _ => {}
    }
    if dice.below(5) > 0 {
        let overwritten = if dice.below(4) == 0 { dice.below(4) } else { 0 };
        let first = (last.index.0 + 1).saturating_sub(overwritten).max(mark.index.0 + 1);
        let count = if dice.below(12) == 0 { dice.below(40) } else { dice.below(4) };
        let entry = |index| {
            let payload = match dice.below(6) {
                0 => Payload::Noop,
                1 => Payload::Configuration(mark_of(term, index).configuration.into()),
                _ => Payload::Command(command(index, dice)),
            };
            Entry { id: EntryId::new(term, index), payload }
        };
        persist.entries = (first..first + count).map(entry).collect();
    }
    persist
}

fn command(index: u64, dice: &mut SplitMix) -> Bytes {
    let byte = index.to_le_bytes()[0];
    (0..dice.below(90)).map(|_| byte).collect()
}

/// Checks that the log holds exactly what the model does.
fn check_same(recovered: &Recovered, reader: &WalReader, model: &Model) -> Result<(), String> {
    if !recovered.groups.keys().eq(model.keys()) {
        return Err(format!("groups {:?}", recovered.groups.keys()));
    }
    for (id, group) in model {
        let found = &recovered.groups[id];
        let entries =
            reader.entries(*id, found.first_index(), LogIndex(u64::MAX), usize::MAX).unwrap();
        let log = GroupModel { hard_state: found.hard_state, mark: found.mark.clone(), entries };
        if log != *group || found.last != group.last() {
            return Err(format!("{id:?} is {log:?}, and should be {group:?}"));
        }
        if !group.entries.ends_with(&found.entries) {
            return Err(format!("{id:?} hands over {:?}", found.entries));
        }
        let mut terms = Vec::new();
        let mut configurations = Vec::new();
        for entry in &group.entries {
            if terms.last().is_none_or(|(_, term)| *term != entry.id.term) {
                terms.push((entry.id.index, entry.id.term));
            }
            if let Payload::Configuration(configuration) = &entry.payload {
                configurations.push((entry.id.index, configuration.as_ref().clone()));
            }
        }
        if (&found.term_runs, &found.configurations) != (&terms, &configurations) {
            return Err(format!("{id:?} has terms {:?}", found.term_runs));
        }
    }
    Ok(())
}

fn run(seed: u64, steps: u64) {
    let mut dice = SplitMix::new(seed);
    let disk = MemDisk::new();
    let (mut wal, _) = open(&disk);
    // The model after each write since the last sync; the first is what is surely durable.
    let mut models = vec![Model::new()];
    for step in 0..steps {
        let mut model = models.last().unwrap().clone();
        let id = GroupId(dice.below(3));
        match dice.below(40) {
            0 => {
                wal.remove_group(id).unwrap();
                model.remove(&id);
                models.push(model);
            }
            1..=28 => {
                let mut batch = Vec::new();
                for _ in 0..=dice.below(3) {
                    let group = GroupId(dice.below(3));
                    let state = model.entry(group).or_default();
                    let persist = random_persist(state, &mut dice);
                    state.apply(&persist);
                    batch.push(WalWrite { group, persist });
                    models.push(model.clone());
                }
                wal.append(&batch).unwrap();
            }
            29..=36 => {
                wal.sync().unwrap();
                models = vec![model];
            }
            37 => wal.idle().unwrap(),
            _ => {
                drop(wal);
                match dice.below(3) {
                    0 => disk.crash_all_lost(),
                    1 => disk.kill(),
                    _ => disk.crash(&mut dice),
                }
                let (reopened, recovered) = open(&disk);
                wal = reopened;
                let reader = wal.reader();
                let same =
                    models.iter().rposition(|model| check_same(&recovered, &reader, model).is_ok());
                let Some(at) = same else {
                    let difference = check_same(&recovered, &reader, models.last().unwrap());
                    panic!(
                        "seed {seed}, step {step}: no prefix of the writes matches: {difference:?}"
                    );
                };
                models = vec![models.swap_remove(at)];
            }
        }
    }
}

/// D5, D15, L2, E2 together: after any crash the log is what it was after some write, at or behind
/// the last sync; segments are given up and copied forward all the while.
#[test]
fn log_is_always_a_prefix_of_what_was_written() {
    for seed in 0..150 {
        run(seed, 200);
    }
}

proptest! {
    #![proptest_config(random(60))]

    #[test]
    fn log_is_always_a_prefix_for_any_seed(seed: u64) {
        run(seed, 120);
    }
}
