//! The table client × feature at the end of `cargo xtask conformance`.

use std::collections::{BTreeMap, BTreeSet};

/// In this order; whatever else was seen follows.
const FEATURES: [&str; 14] = [
    "keys and ranges",
    "transactions",
    "compaction",
    "watches",
    "watch progress",
    "watch fragments",
    "leases",
    "locks",
    "elections",
    "software transactions",
    "caches and mirrors",
    "members",
    "maintenance",
    "users and roles",
];

/// Makes the table of the lines that the tests have written: client, kind of cluster and feature,
/// with tabs between them. Empty if they have written none.
pub(crate) fn render(lines: &str) -> String {
    let mut seen: BTreeMap<&str, BTreeMap<&str, BTreeSet<&str>>> = BTreeMap::new();
    for line in lines.lines() {
        let mut parts = line.split('\t');
        if let (Some(client), Some(kind), Some(feature)) =
            (parts.next(), parts.next(), parts.next())
        {
            seen.entry(feature).or_default().entry(client).or_default().insert(kind);
        }
    }
    let clients: BTreeSet<&str> = seen.values().flat_map(BTreeMap::keys).copied().collect();
    if clients.is_empty() {
        return String::new();
    }
    let further = seen.keys().filter(|feature| !FEATURES.contains(feature)).copied();
    let rows = FEATURES.iter().copied().chain(further).filter(|row| seen.contains_key(row));
    let cells = |first: &str, cells: &[&str]| format!("| {first} | {} |\n", cells.join(" | "));
    let names: Vec<&str> = clients.iter().copied().collect();
    let mut table = cells("feature", &names);
    table.push_str(&cells("---", &vec!["---"; names.len()]));
    for row in rows {
        let cell = |client: &&str| match seen[row].get(client) {
            None => "–",
            Some(kinds) if kinds.len() > 1 => "both",
            Some(kinds) => kinds.first().copied().unwrap_or("–"),
        };
        table.push_str(&cells(row, &names.iter().map(cell).collect::<Vec<_>>()));
    }
    table.push_str(
        "\nboth: on a cluster with TLS and authentication and on one without; –: the client does \
         not offer it\n",
    );
    table
}

#[cfg(test)]
mod tests {
    use super::render;

    #[test]
    fn a_cell_says_on_which_clusters_a_feature_was_seen() {
        let lines = "B\tplain\tlocks\nB\tsecured\tlocks\nA\tplain\tlocks\nA\tplain\tnew\n";
        let table = render(lines);
        let expect = "\
| feature | A | B |
| --- | --- | --- |
| locks | plain | both |
| new | plain | – |
";
        assert!(table.starts_with(expect), "{table}");
        assert_eq!(render(""), "");
    }
}
