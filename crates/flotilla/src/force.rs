//! `flotilla force-new-cluster`: the last way out of a lost majority.

use std::io::Write;
use std::path::PathBuf;

use clap::Args;
use server::{ForcedCluster, ForcedMember, force_new_cluster};

use crate::Failure;

/// The text behind the help.
pub(crate) const AFTER_HELP: &str = "\
Use it only when a majority of the members' data folders is gone for good. Everything that only
the lost members had is lost, acknowledged or not. If some of them live after all and are a
majority, there are two clusters from then on: stop them first. Run it on the member whose log is
the longest (the same command without --accept-data-loss tells), then start that member as always.

Example: flotilla force-new-cluster --data-dir /var/lib/flotilla
Example: flotilla force-new-cluster --data-dir /var/lib/flotilla --keep n3 --accept-data-loss";

/// The flags.
#[derive(Clone, Debug, Args)]
pub(crate) struct ForceOptions {
    /// The data folder of the member that goes on; its process must not run.
    #[arg(long)]
    data_dir: PathBuf,
    /// Further members that live and stay, by name or id.
    #[arg(long, value_delimiter = ',', value_name = "MEMBERS")]
    keep: Vec<String>,
    /// Do it. Without this flag nothing is changed.
    #[arg(long)]
    accept_data_loss: bool,
    /// One line of JSON in place of text.
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(options: &ForceOptions, out: &mut dyn Write) -> Result<(), Failure> {
    let done = options.accept_data_loss;
    let forced = force_new_cluster(&options.data_dir, &options.keep, done)?;
    if options.json {
        let text = json(&forced, done);
        return Ok(writeln!(out, "{text}")?);
    }
    let tense = if done {
        ("stays", "is removed for ever")
    } else {
        ("would stay", "would be removed for ever")
    };
    writeln!(out, "cluster {:x}, as member {} has it", forced.cluster_id, words(&forced.member))?;
    writeln!(out, "its log ends at entry {} of term {}", forced.last_index, forced.last_term)?;
    for member in &forced.kept {
        writeln!(out, "{} {}", words(member), tense.0)?;
    }
    for member in &forced.removed {
        writeln!(out, "{} {}", words(member), tense.1)?;
    }
    writeln!(out, "WRITES THAT ONLY THE REMOVED MEMBERS HAD ARE LOST, ACKNOWLEDGED OR NOT.")?;
    if done {
        writeln!(out, "done: start this member as always, then add new ones with member add")?;
    } else {
        writeln!(out, "nothing was changed: --accept-data-loss does it")?;
    }
    Ok(())
}

fn words(member: &ForcedMember) -> String {
    format!("{} ({:x})", member.name, member.id)
}

fn json(forced: &ForcedCluster, done: bool) -> String {
    let member = |member: &ForcedMember| {
        format!("{{\"id\":\"{:x}\",\"name\":{:?}}}", member.id, member.name)
    };
    let list = |members: &[ForcedMember]| members.iter().map(member).collect::<Vec<_>>().join(",");
    format!(
        "{{\"done\":{done},\"cluster_id\":\"{:x}\",\"member\":{},\"last_index\":{},\"last_term\":{},\
         \"kept\":[{}],\"removed\":[{}]}}",
        forced.cluster_id,
        member(&forced.member),
        forced.last_index,
        forced.last_term,
        list(&forced.kept),
        list(&forced.removed)
    )
}
