//! The members: who they are, and how that changes.

use api::etcdserverpb::cluster_client::ClusterClient;
use api::etcdserverpb::{
    self as pb, MemberAddRequest, MemberListRequest, MemberPromoteRequest, MemberRemoveRequest,
    MemberUpdateRequest,
};
use clap::Subcommand;
use serde::Serialize;

use super::Output;
use super::replace::Replace;
use crate::connect::Connection;
use crate::table::Table;
use crate::{ClientError, Endpoints};

/// `ctl member`. A member is named by its name or by its id in hexadecimal.
#[derive(Clone, Debug, Subcommand)]
pub enum Member {
    /// The members, as the cluster knows them.
    #[command(after_help = "Example: flotilla ctl member list --json")]
    List,
    /// Make a place for another member; prints how to start it.
    ///
    /// It gets its vote once it holds the log: a cluster never loses its majority to a member that
    /// is added. With --learner it gets none until it is promoted.
    #[command(after_help = "\
Example: flotilla ctl member add n4 --peer-urls http://10.0.0.4:2380
         flotilla ctl member add n4 --peer-urls http://10.0.0.4:2380 --learner")]
    Add {
        /// The name that it will start with.
        name: String,
        /// Where the other members will reach it.
        #[arg(long, value_delimiter = ',', required = true, value_name = "URLS")]
        peer_urls: Vec<String>,
        /// Without a vote, until it is promoted.
        #[arg(long)]
        learner: bool,
    },
    /// Give a learner its vote; it must hold the log.
    #[command(after_help = "Example: flotilla ctl member promote n4")]
    Promote {
        /// The learner.
        member: String,
    },
    /// Remove a member for good. Its process ends by itself.
    #[command(after_help = "Example: flotilla ctl member remove n2")]
    Remove {
        /// The member.
        member: String,
    },
    /// Put a new member in the place of another, which may have lost its disk.
    ///
    /// The new one learns the log first; then it gets its vote and the old one leaves, in one step.
    #[command(after_help = "\
Example: flotilla ctl member replace n2 --with n4 --peer-urls http://10.0.0.4:2380")]
    Replace(Replace),
    /// Change where the other members reach a member. Do so before it moves.
    #[command(after_help = "\
Example: flotilla ctl member update n2 --peer-urls http://10.0.0.7:2380")]
    Update {
        /// The member.
        member: String,
        /// Where it will be reached.
        #[arg(long, value_delimiter = ',', required = true, value_name = "URLS")]
        peer_urls: Vec<String>,
    },
}

pub(super) async fn run(
    endpoints: &Endpoints,
    member: &Member,
    output: &mut Output<'_>,
) -> Result<(), ClientError> {
    match member {
        Member::List => list(endpoints, output).await,
        Member::Add { name, peer_urls, learner } => {
            add(endpoints, name, peer_urls, *learner, output).await
        }
        Member::Replace(replace) => super::replace::run(endpoints, replace, output).await,
        Member::Promote { member } => promote(endpoints, member, output).await,
        Member::Remove { member } => remove(endpoints, member, output).await,
        Member::Update { member, peer_urls } => update(endpoints, member, peer_urls, output).await,
    }
}

#[derive(Serialize)]
struct MemberLine {
    id: String,
    name: String,
    is_started: bool,
    peer_urls: Vec<String>,
    client_urls: Vec<String>,
    is_learner: bool,
}

impl From<pb::Member> for MemberLine {
    fn from(member: pb::Member) -> Self {
        Self {
            id: format!("{:x}", member.id),
            is_started: !member.name.is_empty(),
            name: member.name,
            peer_urls: member.peer_ur_ls,
            client_urls: member.client_ur_ls,
            is_learner: member.is_learner,
        }
    }
}

pub(super) async fn client(
    endpoints: &Endpoints,
) -> Result<ClusterClient<Connection>, ClientError> {
    Ok(ClusterClient::new(endpoints.connect_any().await?))
}

/// The member of this name or id.
pub(super) async fn find(endpoints: &Endpoints, member: &str) -> Result<pb::Member, ClientError> {
    let mut client = client(endpoints).await?;
    let answer = client.member_list(MemberListRequest { linearizable: true }).await?.into_inner();
    choose(answer.members, member)
}

/// The members that vote.
pub(super) async fn voters(endpoints: &Endpoints) -> Result<Vec<pb::Member>, ClientError> {
    let mut client = client(endpoints).await?;
    let answer = client.member_list(MemberListRequest { linearizable: true }).await?.into_inner();
    Ok(answer.members.into_iter().filter(|member| !member.is_learner).collect())
}

/// A name counts before an id: `cafe` may be both.
fn choose(members: Vec<pb::Member>, wanted: &str) -> Result<pb::Member, ClientError> {
    let id = u64::from_str_radix(wanted, 16).ok();
    let named = members.iter().find(|member| member.name == wanted && !wanted.is_empty());
    let found = named.or_else(|| members.iter().find(|member| Some(member.id) == id));
    found.cloned().ok_or_else(|| {
        let known: Vec<String> =
            members.iter().map(|member| format!("{} ({:x})", member.name, member.id)).collect();
        let message = format!("no member is called {wanted}; there are {}", known.join(", "));
        ClientError::NotFound(message)
    })
}

pub(super) async fn list(
    endpoints: &Endpoints,
    output: &mut Output<'_>,
) -> Result<(), ClientError> {
    let mut client = client(endpoints).await?;
    let answer = client.member_list(MemberListRequest { linearizable: true }).await?.into_inner();
    show(answer.members, output)
}

fn show(members: Vec<pb::Member>, output: &mut Output<'_>) -> Result<(), ClientError> {
    let lines = members.into_iter().map(MemberLine::from);
    if output.json {
        return output.json(&lines.collect::<Vec<_>>());
    }
    let mut table = Table::new(&["ID", "NAME", "STATUS", "PEER URLS", "CLIENT URLS", "VOTES"]);
    for line in lines {
        let votes = if line.is_learner { "learner" } else { "voter" };
        let status = if line.is_started { "started" } else { "not started" };
        let urls = [line.peer_urls.join(","), line.client_urls.join(",")];
        let [peers, clients] = urls;
        table.row([line.id, line.name, status.to_owned(), peers, clients, votes.to_owned()]);
    }
    Ok(table.write(output.out)?)
}

#[derive(Serialize)]
struct Added {
    member: MemberLine,
    initial_cluster: String,
}

async fn add(
    endpoints: &Endpoints,
    name: &str,
    peer_urls: &[String],
    is_learner: bool,
    output: &mut Output<'_>,
) -> Result<(), ClientError> {
    let mut client = client(endpoints).await?;
    let request = MemberAddRequest { peer_ur_ls: peer_urls.to_vec(), is_learner };
    let answer = client.member_add(request).await?.into_inner();
    let member = answer.member.unwrap_or_default();
    let initial_cluster = initial_cluster(&answer.members, &member, name);
    if output.json {
        return output.json(&Added { member: member.into(), initial_cluster });
    }
    say_how_to_start(&member, &initial_cluster, name, output)?;
    if is_learner {
        output.line(&format!("and when it has caught up: flotilla ctl member promote {name}"))?;
    }
    Ok(())
}

pub(super) fn say_how_to_start(
    member: &pb::Member,
    initial_cluster: &str,
    name: &str,
    output: &mut Output<'_>,
) -> Result<(), ClientError> {
    let (id, peers) = (member.id, member.peer_ur_ls.join(","));
    output.line(&format!("member {id:x} has its place; start it with an empty data folder:"))?;
    output.line(&format!(
        "  flotilla serve --name {name} --initial-cluster-state existing \\\n    \
         --initial-cluster {initial_cluster} \\\n    \
         --listen-peer-urls {peers} --initial-advertise-peer-urls {peers} …"
    ))
}

/// As `--initial-cluster` wants it.
pub(super) fn initial_cluster(members: &[pb::Member], new: &pb::Member, name: &str) -> String {
    let entries = members.iter().flat_map(|member| {
        let name = if member.id == new.id { name } else { member.name.as_str() };
        member.peer_ur_ls.iter().map(move |url| format!("{name}={url}"))
    });
    entries.filter(|entry| !entry.starts_with('=')).collect::<Vec<_>>().join(",")
}

async fn promote(
    endpoints: &Endpoints,
    member: &str,
    output: &mut Output<'_>,
) -> Result<(), ClientError> {
    let id = find(endpoints, member).await?.id;
    let mut client = client(endpoints).await?;
    let members = client.member_promote(MemberPromoteRequest { id }).await?.into_inner().members;
    tell(members, &format!("member {id:x} votes"), output)
}

async fn remove(
    endpoints: &Endpoints,
    member: &str,
    output: &mut Output<'_>,
) -> Result<(), ClientError> {
    let id = find(endpoints, member).await?.id;
    let mut client = client(endpoints).await?;
    let members = client.member_remove(MemberRemoveRequest { id }).await?.into_inner().members;
    tell(members, &format!("member {id:x} is removed; its process ends by itself"), output)
}

async fn update(
    endpoints: &Endpoints,
    member: &str,
    peer_urls: &[String],
    output: &mut Output<'_>,
) -> Result<(), ClientError> {
    let id = find(endpoints, member).await?.id;
    let mut client = client(endpoints).await?;
    let request = MemberUpdateRequest { id, peer_ur_ls: peer_urls.to_vec() };
    let members = client.member_update(request).await?.into_inner().members;
    tell(members, &format!("member {id:x} is reached at {}", peer_urls.join(",")), output)
}

/// One line for people, the members for programs.
fn tell(members: Vec<pb::Member>, line: &str, output: &mut Output<'_>) -> Result<(), ClientError> {
    if output.json { show(members, output) } else { output.line(line) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn members() -> Vec<pb::Member> {
        let member = |id, name: &str, url: &str| pb::Member {
            id,
            name: name.to_owned(),
            peer_ur_ls: vec![url.to_owned()],
            ..pb::Member::default()
        };
        vec![
            member(0xcafe, "n1", "http://a:1"),
            member(2, "cafe", "http://b:1"),
            member(3, "", "u"),
        ]
    }

    #[test]
    fn a_member_is_named_by_its_name_or_its_id() {
        let find = |wanted| choose(members(), wanted).map(|member| member.id).ok();
        assert_eq!(find("n1"), Some(0xcafe));
        assert_eq!(find("cafe"), Some(2), "a name counts first");
        assert_eq!(find("3"), Some(3));
        assert_eq!(find(""), None, "one that has not started is named by its id");
        let error = choose(members(), "n9").unwrap_err();
        assert!(error.to_string().contains("n1 (cafe)"), "{error}");
        assert_eq!(error.exit_code(), 1);
    }

    #[test]
    fn the_line_to_start_a_member_names_all_that_have_a_name() {
        let mut members = members();
        let new =
            pb::Member { id: 4, peer_ur_ls: vec!["http://d:1".to_owned()], ..Default::default() };
        members.push(new.clone());
        let line = initial_cluster(&members, &new, "n4");
        assert_eq!(line, "n1=http://a:1,cafe=http://b:1,n4=http://d:1");
    }
}
