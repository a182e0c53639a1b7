//! Shapes of broken networks: who does not hear whom.

use std::collections::BTreeSet;

use env::SplitMix;

use super::fault::FaultKind;

/// Directed wires that are cut, as `(from, to)`.
pub type Cuts = BTreeSet<(u64, u64)>;

/// The wires that a fault of this kind cuts among these nodes; none if it is no matter of shape.
#[must_use]
pub fn cuts_of(kind: FaultKind, nodes: &[u64], node: u64, dice: &mut SplitMix) -> Cuts {
    let others: Vec<u64> = nodes.iter().copied().filter(|other| *other != node).collect();
    let away = |other: &u64| (node, *other);
    let towards = |other: &u64| (*other, node);
    if let Some(row) = Row::of(kind) {
        return row.cuts(&shuffled(nodes, dice));
    }
    let one = one_of(&others, dice);
    let mut cuts = Cuts::new();
    if matches!(kind, FaultKind::Isolate | FaultKind::Deaf) {
        cuts.extend(others.iter().map(towards));
    }
    if matches!(kind, FaultKind::Isolate | FaultKind::Mute) {
        cuts.extend(others.iter().map(away));
    }
    if matches!(kind, FaultKind::Cut | FaultKind::Flap | FaultKind::CutOneWay) {
        cuts.extend(one.iter().map(away));
    }
    if matches!(kind, FaultKind::Cut | FaultKind::Flap) {
        cuts.extend(one.iter().map(towards));
    }
    cuts
}

fn one_of(nodes: &[u64], dice: &mut SplitMix) -> Option<u64> {
    let count = nodes.len() as u64;
    (count > 0).then(|| nodes[usize::try_from(dice.below(count)).expect("small")])
}

fn shuffled(nodes: &[u64], dice: &mut SplitMix) -> Vec<u64> {
    let mut nodes = nodes.to_vec();
    for place in (1..nodes.len()).rev() {
        let other = usize::try_from(dice.below(place as u64 + 1)).expect("small");
        nodes.swap(place, other);
    }
    nodes
}

/// The nodes stand in a row, and who is too far from whom is cut off.
#[derive(Clone, Copy, Debug)]
enum Row {
    Halves,
    Bridge,
    Ring,
    Chain,
}

impl Row {
    fn of(kind: FaultKind) -> Option<Self> {
        let rows = [
            (FaultKind::Halves, Self::Halves),
            (FaultKind::Bridge, Self::Bridge),
            (FaultKind::Ring, Self::Ring),
            (FaultKind::Chain, Self::Chain),
        ];
        rows.into_iter().find(|(name, _)| *name == kind).map(|(_, row)| row)
    }

    fn cuts(self, row: &[u64]) -> Cuts {
        let (count, middle) = (row.len(), row.len() / 2);
        let is_cut = |a: usize, b: usize| {
            let distance = a.abs_diff(b);
            match self {
                Self::Chain => distance > 1,
                Self::Ring => distance > 1 && distance != count - 1,
                Self::Bridge => a != middle && b != middle && (a < middle) != (b < middle),
                Self::Halves => (a < middle) != (b < middle),
            }
        };
        let pairs = (0..count).flat_map(|a| (0..count).map(move |b| (a, b)));
        pairs.filter(|(a, b)| is_cut(*a, *b)).map(|(a, b)| (row[a], row[b])).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(row: Row, expect: &[(u64, u64)]) {
        let both: Cuts = expect.iter().flat_map(|(a, b)| [(*a, *b), (*b, *a)]).collect();
        assert_eq!(row.cuts(&[1, 2, 3, 4, 5]), both);
    }

    #[test]
    fn rows_are_cut_as_their_names_say() {
        check(Row::Chain, &[(1, 3), (1, 4), (1, 5), (2, 4), (2, 5), (3, 5)]);
        check(Row::Ring, &[(1, 3), (1, 4), (2, 4), (2, 5), (3, 5)]);
        check(Row::Bridge, &[(1, 4), (1, 5), (2, 4), (2, 5)]);
        let halves = [(1, 3), (1, 4), (1, 5), (2, 3), (2, 4), (2, 5)];
        check(Row::Halves, &halves);
    }

    #[test]
    fn a_node_alone_has_no_wires() {
        let mut dice = SplitMix::new(1);
        for kind in super::super::fault::HOST_FAULTS.iter() {
            assert!(cuts_of(*kind, &[1], 1, &mut dice).is_empty(), "{kind:?}");
        }
    }
}
