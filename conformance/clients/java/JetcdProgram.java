import static java.nio.charset.StandardCharsets.UTF_8;

import io.etcd.jetcd.Auth;
import io.etcd.jetcd.ByteSequence;
import io.etcd.jetcd.Client;
import io.etcd.jetcd.ClientBuilder;
import io.etcd.jetcd.Election;
import io.etcd.jetcd.KV;
import io.etcd.jetcd.Lease;
import io.etcd.jetcd.Watch;
import io.etcd.jetcd.auth.Permission;
import io.etcd.jetcd.cluster.Member;
import io.etcd.jetcd.kv.TxnResponse;
import io.etcd.jetcd.lease.LeaseKeepAliveResponse;
import io.etcd.jetcd.op.Cmp;
import io.etcd.jetcd.op.CmpTarget;
import io.etcd.jetcd.op.Op;
import io.etcd.jetcd.options.CompactOption;
import io.etcd.jetcd.options.DeleteOption;
import io.etcd.jetcd.options.GetOption;
import io.etcd.jetcd.options.LeaseOption;
import io.etcd.jetcd.options.PutOption;
import io.etcd.jetcd.options.WatchOption;
import io.etcd.jetcd.watch.WatchEvent;
import io.etcd.jetcd.watch.WatchResponse;
import io.grpc.stub.StreamObserver;
import java.io.ByteArrayOutputStream;
import java.io.File;
import java.net.URI;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;

/**
 * Drives a cluster with jetcd: what it does must work as it does against etcd.
 *
 * <p>Usage: java -cp 'jars/*' JetcdProgram.java HOST:PORT,HOST:PORT,… [CA.pem USER PASSWORD]
 *
 * <p>It prints a line {@code ok <feature>} for each feature that works, and ends with 0 if all do.
 */
public class JetcdProgram {
  private static final long WITHIN_SECS = 30;

  private final String[] endpoints;
  private final File ca;
  private final String user;
  private final String password;
  private final Client client;

  interface Feature {
    void run() throws Exception;
  }

  /** A request that is expected to be refused. */
  interface Asked {
    CompletableFuture<?> send();
  }

  JetcdProgram(String[] arguments) throws Exception {
    String scheme = arguments.length > 1 ? "https://" : "http://";
    endpoints = Arrays.stream(arguments[0].split(",")).map(one -> scheme + one).toArray(String[]::new);
    ca = arguments.length > 1 ? new File(arguments[1]) : null;
    user = ca == null ? null : arguments[2];
    password = ca == null ? null : arguments[3];
    client = connect(user, password);
  }

  private boolean isSecured() {
    return ca != null;
  }

  private Client connect(String user, String password, String... to) throws Exception {
    ClientBuilder builder = Client.builder().endpoints(to.length == 0 ? endpoints : to);
    if (ca != null) {
      builder.authority("localhost").sslContext(ssl -> ssl.trustManager(ca));
    }
    if (user != null) {
      builder.user(bytes(user)).password(bytes(password));
    }
    return builder.build();
  }

  private static ByteSequence bytes(String text) {
    return ByteSequence.from(text, UTF_8);
  }

  private static <T> T done(CompletableFuture<T> future) throws Exception {
    return future.get(WITHIN_SECS, TimeUnit.SECONDS);
  }

  private static void expect(boolean holds, Object what) {
    if (!holds) {
      throw new AssertionError(String.valueOf(what));
    }
  }

  private static void refused(String text, Asked asked) throws Exception {
    try {
      Object answer = done(asked.send());
      throw new AssertionError("was not refused: " + answer);
    } catch (ExecutionException error) {
      expect(String.valueOf(error.getMessage()).contains(text), error);
    }
  }

  private long put(String key, String value) throws Exception {
    return done(client.getKVClient().put(bytes(key), bytes(value))).getHeader().getRevision();
  }

  private void keysAndRanges() throws Exception {
    KV kv = client.getKVClient();
    long first = put("java/kv/a", "1");
    put("java/kv/b", "2");
    put("java/kv/c", "3");
    GetOption all = GetOption.builder().isPrefix(true).build();
    expect(done(kv.get(bytes("java/kv/"), all)).getCount() == 3, "a prefix has its keys");
    GetOption page =
        GetOption.builder()
            .isPrefix(true)
            .withLimit(2)
            .withSortField(GetOption.SortTarget.KEY)
            .withSortOrder(GetOption.SortOrder.DESCEND)
            .build();
    var paged = done(kv.get(bytes("java/kv/"), page));
    expect(paged.isMore() && paged.getKvs().get(0).getKey().equals(bytes("java/kv/c")), paged);
    GetOption range = GetOption.builder().withRange(bytes("java/kv/c")).withKeysOnly(true).build();
    var bare = done(kv.get(bytes("java/kv/a"), range));
    expect(bare.getKvs().size() == 2 && bare.getKvs().get(0).getValue().isEmpty(), bare);
    GetOption old = GetOption.builder().isPrefix(true).withRevision(first).build();
    expect(done(kv.get(bytes("java/kv/"), old)).getCount() == 1, "the past is as it was");
    GetOption recent =
        GetOption.builder().isPrefix(true).withMinModRevision(first + 1).withSerializable(false).build();
    expect(done(kv.get(bytes("java/kv/"), recent)).getKvs().size() == 2, "what changed since");
    GetOption count = GetOption.builder().isPrefix(true).withCountOnly(true).build();
    expect(done(kv.get(bytes("java/kv/"), count)).getKvs().isEmpty(), "a count has no keys");
    var before = done(kv.put(bytes("java/kv/a"), bytes("new"), PutOption.builder().withPrevKV().build()));
    expect(before.getPrevKv().getValue().equals(bytes("1")), before);
    var gone =
        done(kv.delete(bytes("java/kv/"), DeleteOption.builder().isPrefix(true).withPrevKV(true).build()));
    expect(gone.getDeleted() == 3 && gone.getPrevKvs().size() == 3, gone);
    refused("required revision is a future revision",
        () -> kv.get(bytes("x"), GetOption.builder().withRevision(1L << 40).build()));
  }

  private void transactions() throws Exception {
    put("java/txn/a", "x");
    Cmp[] fresh = {new Cmp(bytes("java/txn/b"), Cmp.Op.EQUAL, CmpTarget.createRevision(0))};
    Op[] make = {Op.put(bytes("java/txn/b"), bytes("made"), PutOption.DEFAULT)};
    Op[] unmake = {Op.delete(bytes("java/txn/b"), DeleteOption.DEFAULT)};
    TxnResponse both =
        done(
            client
                .getKVClient()
                .txn()
                .If(
                    new Cmp(bytes("java/txn/a"), Cmp.Op.EQUAL, CmpTarget.value(bytes("x"))),
                    new Cmp(bytes("java/txn/a"), Cmp.Op.GREATER, CmpTarget.version(0)),
                    new Cmp(bytes("java/txn/a"), Cmp.Op.NOT_EQUAL, CmpTarget.modRevision(1)))
                .Then(Op.get(bytes("java/txn/a"), GetOption.DEFAULT), Op.txn(fresh, make, unmake))
                .Else(Op.delete(bytes("java/txn/a"), DeleteOption.DEFAULT))
                .commit());
    expect(both.isSucceeded() && both.getTxnResponses().get(0).isSucceeded(), both);
    expect(both.getGetResponses().get(0).getKvs().get(0).getValue().equals(bytes("x")), both);
    TxnResponse other =
        done(
            client
                .getKVClient()
                .txn()
                .If(new Cmp(bytes("java/txn/a"), Cmp.Op.LESS, CmpTarget.version(1)))
                .Then(make)
                .Else(unmake)
                .commit());
    expect(!other.isSucceeded() && other.getDeleteResponses().get(0).getDeleted() == 1, other);
    refused("duplicate key given in txn request",
        () -> client.getKVClient().txn().Then(make[0], make[0]).commit());
  }

  private void compaction() throws Exception {
    long old = put("java/compact", "1");
    long newest = put("java/compact", "2");
    KV kv = client.getKVClient();
    done(kv.compact(newest, CompactOption.builder().withCompactPhysical(true).build()));
    refused("required revision has been compacted",
        () -> kv.get(bytes("java/compact"), GetOption.builder().withRevision(old).build()));
    refused("required revision has been compacted", () -> kv.compact(newest));
  }

  /** The events of a watch, in the order in which they come. */
  private static final class Seen implements Watch.Listener {
    final BlockingQueue<WatchEvent> events = new LinkedBlockingQueue<>();
    final BlockingQueue<WatchResponse> notices = new LinkedBlockingQueue<>();
    final BlockingQueue<Throwable> errors = new LinkedBlockingQueue<>();

    @Override
    public void onNext(WatchResponse response) {
      events.addAll(response.getEvents());
      if (response.getEvents().isEmpty()) {
        notices.add(response);
      }
    }

    @Override
    public void onError(Throwable error) {
      errors.add(error);
    }

    @Override
    public void onCompleted() {}

    WatchEvent next() throws InterruptedException {
      WatchEvent event = events.poll(WITHIN_SECS, TimeUnit.SECONDS);
      expect(event != null, "an event comes; errors: " + errors);
      return event;
    }
  }

  private void watches() throws Exception {
    Watch watch = client.getWatchClient();
    Seen now = new Seen();
    WatchOption prefix =
        WatchOption.builder().isPrefix(true).withPrevKV(true).withCreateNotify(true).withRequireLeader(true).build();
    long first;
    try (Watch.Watcher watcher = watch.watch(bytes("java/watch/"), prefix, now)) {
      expect(now.notices.poll(WITHIN_SECS, TimeUnit.SECONDS).isCreatedNotify(), "it is made");
      first = put("java/watch/a", "1");
      put("java/watch/a", "2");
      put("java/elsewhere", "3");
      done(client.getKVClient().delete(bytes("java/watch/a")));
      expect(now.next().getKeyValue().getModRevision() == first, "the first event");
      expect(now.next().getPrevKV().getValue().equals(bytes("1")), "what was there before");
      expect(now.next().getEventType() == WatchEvent.EventType.DELETE, "the delete");
    }
    Seen past = new Seen();
    WatchOption deletes = WatchOption.builder().withRevision(first).withNoPut(true).build();
    try (Watch.Watcher watcher = watch.watch(bytes("java/watch/a"), deletes, past)) {
      expect(past.next().getEventType() == WatchEvent.EventType.DELETE, "puts are left out");
    }
    List<Seen> many = new ArrayList<>();
    List<Watch.Watcher> watchers = new ArrayList<>();
    for (int at = 0; at < 50; at++) {
      many.add(new Seen());
      WatchOption from = WatchOption.builder().withRevision(first).withNoDelete(true).build();
      watchers.add(watch.watch(bytes("java/watch/many/" + at), from, many.get(at)));
    }
    for (int at = 0; at < 50; at++) {
      put("java/watch/many/" + at, String.valueOf(at));
    }
    for (int at = 0; at < 50; at++) {
      expect(many.get(at).next().getKeyValue().getValue().equals(bytes(String.valueOf(at))), at);
      watchers.get(at).close();
    }
    watchFromCompactedHistory(first);
  }

  /** One member is asked for both: another may not have applied the compaction yet. */
  private void watchFromCompactedHistory(long from) throws Exception {
    try (Client one = connect(user, password, endpoints[0])) {
      long newest = put("java/watch/end", "1");
      done(one.getKVClient().compact(newest));
      Seen gone = new Seen();
      WatchOption past = WatchOption.builder().withRevision(from).build();
      try (Watch.Watcher watcher = one.getWatchClient().watch(bytes("java/watch/a"), past, gone)) {
        Throwable error = gone.errors.poll(WITHIN_SECS, TimeUnit.SECONDS);
        expect(error != null && error.getMessage().contains("compacted"), error);
      }
    }
  }

  private void watchProgress() throws Exception {
    Seen seen = new Seen();
    WatchOption options =
        WatchOption.builder().withProgressNotify(true).isPrefix(true).withCreateNotify(true).build();
    try (Watch.Watcher watcher = client.getWatchClient().watch(bytes("java/progress/"), options, seen)) {
      // A watch begins where the member is when it hears of it: a put that overtakes it is not seen.
      expect(seen.notices.poll(WITHIN_SECS, TimeUnit.SECONDS).isCreatedNotify(), "it is made");
      long newest = put("java/progress/a", "1");
      seen.next();
      while (true) {
        client.getWatchClient().requestProgress();
        WatchResponse told = seen.notices.poll(100, TimeUnit.MILLISECONDS);
        if (told != null && told.isProgressNotify() && told.getHeader().getRevision() >= newest) {
          return;
        }
      }
    }
  }

  private void leases() throws Exception {
    Lease lease = client.getLeaseClient();
    KV kv = client.getKVClient();
    long id = done(lease.grant(2)).getID();
    done(kv.put(bytes("java/lease/a"), bytes("1"), PutOption.builder().withLeaseId(id).build()));
    var told = done(lease.timeToLive(id, LeaseOption.builder().withAttachedKeys().build()));
    expect(told.getGrantedTTL() == 2 && told.getKeys().size() == 1, told);
    expect(done(lease.keepAliveOnce(id)).getTTL() == 2, "a renewal tells the whole time");
    BlockingQueue<LeaseKeepAliveResponse> renewals = new LinkedBlockingQueue<>();
    StreamObserver<LeaseKeepAliveResponse> observer =
        new StreamObserver<>() {
          @Override
          public void onNext(LeaseKeepAliveResponse response) {
            renewals.add(response);
          }

          @Override
          public void onError(Throwable error) {}

          @Override
          public void onCompleted() {}
        };
    try (var keeper = lease.keepAlive(id, observer)) {
      for (int renewal = 0; renewal < 3; renewal++) {
        expect(renewals.poll(WITHIN_SECS, TimeUnit.SECONDS) != null, "the lease is kept");
      }
    }
    while (!done(kv.get(bytes("java/lease/a"))).getKvs().isEmpty()) {
      Thread.sleep(20);
    }
    long other = done(lease.grant(600)).getID();
    done(kv.put(bytes("java/lease/b"), bytes("1"), PutOption.builder().withLeaseId(other).build()));
    done(lease.revoke(other));
    expect(done(kv.get(bytes("java/lease/b"))).getKvs().isEmpty(), "a lease takes its keys along");
    refused("requested lease not found", () -> lease.revoke(other));
    expect(done(lease.timeToLive(other, LeaseOption.DEFAULT)).getTTL() == -1, "no time is left");
  }

  private void locks() throws Exception {
    Lease lease = client.getLeaseClient();
    long mine = done(lease.grant(60)).getID();
    long theirs = done(lease.grant(60)).getID();
    var held = done(client.getLockClient().lock(bytes("java/lock"), mine));
    var waiting = client.getLockClient().lock(bytes("java/lock"), theirs);
    expect(!waiting.isDone(), "a lock has one holder");
    done(client.getLockClient().unlock(held.getKey()));
    var next = done(waiting);
    expect(!next.getKey().equals(held.getKey()), "the next one has it");
    done(client.getLockClient().unlock(next.getKey()));
    done(lease.revoke(mine));
    done(lease.revoke(theirs));
  }

  private void elections() throws Exception {
    Election election = client.getElectionClient();
    ByteSequence name = bytes("java/election");
    long mine = done(client.getLeaseClient().grant(60)).getID();
    long theirs = done(client.getLeaseClient().grant(60)).getID();
    refused("NoLeaderException", () -> election.leader(name));
    var first = done(election.campaign(name, mine, bytes("one")));
    BlockingQueue<String> leaders = new LinkedBlockingQueue<>();
    election.observe(
        name,
        new Election.Listener() {
          @Override
          public void onNext(io.etcd.jetcd.election.LeaderResponse response) {
            leaders.add(response.getKv().getValue().toString(UTF_8));
          }

          @Override
          public void onError(Throwable error) {}

          @Override
          public void onCompleted() {}
        });
    expect("one".equals(leaders.poll(WITHIN_SECS, TimeUnit.SECONDS)), "the leader is seen");
    done(election.proclaim(first.getLeader(), bytes("one again")));
    expect("one again".equals(leaders.poll(WITHIN_SECS, TimeUnit.SECONDS)), "what it proclaims is seen");
    var campaign = election.campaign(name, theirs, bytes("two"));
    done(election.resign(first.getLeader()));
    var second = done(campaign);
    expect(done(election.leader(name)).getKv().getValue().equals(bytes("two")), "the next one leads");
    refused("NotLeaderException", () -> election.proclaim(first.getLeader(), bytes("late")));
    done(election.resign(second.getLeader()));
    done(client.getLeaseClient().revoke(mine));
    done(client.getLeaseClient().revoke(theirs));
  }

  private void members() throws Exception {
    var cluster = client.getClusterClient();
    int count = done(cluster.listMember()).getMembers().size();
    expect(count == endpoints.length, count);
    var added = done(cluster.addMember(List.of(URI.create("http://127.0.0.1:1")), true));
    Member member = added.getMember();
    expect(member.isLearner() && added.getMembers().size() == count + 1, added);
    done(cluster.updateMember(member.getId(), List.of(URI.create("http://127.0.0.1:2"))));
    done(cluster.removeMember(member.getId()));
    refused("member not found", () -> cluster.removeMember(member.getId()));
  }

  private void maintenance() throws Exception {
    var maintenance = client.getMaintenanceClient();
    for (String endpoint : endpoints) {
      var status = done(maintenance.statusMember(endpoint));
      expect(status.getDbSize() > 0 && status.getLeader() != 0, status);
      done(maintenance.defragmentMember(endpoint));
      expect(done(maintenance.hashKV(endpoint, 0)).getHash() != 0, "a hash");
    }
    expect(done(maintenance.listAlarms()).getAlarms().isEmpty(), "no alarm is raised");
    ByteArrayOutputStream file = new ByteArrayOutputStream();
    long size = done(maintenance.snapshot(file));
    expect(size == file.size() && size % 512 == 32, size);

    long leader = done(maintenance.statusMember(endpoints[0])).getLeader();
    long target = 0;
    String at = null;
    for (String endpoint : endpoints) {
      long id = done(maintenance.statusMember(endpoint)).getHeader().getMemberId();
      if (id == leader) {
        at = endpoint;
      } else {
        target = id;
      }
    }
    try (Client one = connect(user, password, at)) {
      done(one.getMaintenanceClient().moveLeader(target));
      while (done(one.getMaintenanceClient().statusMember(at)).getLeader() != target) {
        Thread.sleep(20);
      }
    }
  }

  private void usersAndRoles() throws Exception {
    Auth auth = client.getAuthClient();
    ByteSequence role = bytes("java-role");
    ByteSequence name = bytes("java-user");
    done(auth.roleAdd(role));
    refused("role name already exists", () -> auth.roleAdd(role));
    done(auth.roleGrantPermission(role, bytes("java/auth/"), bytes("java/auth0"), Permission.Type.READWRITE));
    done(auth.userAdd(name, bytes("first")));
    done(auth.userGrantRole(name, role));
    done(auth.userChangePassword(name, bytes("second")));
    expect(done(auth.userGet(name)).getRoles().contains("java-role"), "a user has its roles");
    expect(done(auth.roleGet(role)).getPermissions().size() == 1, "a role has its permissions");
    expect(done(auth.userList()).getUsers().contains("java-user"), "users are listed");
    expect(done(auth.roleList()).getRoles().contains("java-role"), "roles are listed");
    if (isSecured()) {
      try (Client user = connect("java-user", "second")) {
        done(user.getKVClient().put(bytes("java/auth/a"), bytes("1")));
        refused("permission denied", () -> user.getKVClient().put(bytes("java/outside"), bytes("1")));
        GetOption all = GetOption.builder().isPrefix(true).build();
        refused("permission denied", () -> user.getKVClient().get(bytes("java/"), all));
      }
      try (Client stranger = connect("java-user", "wrong")) {
        refused("UNAUTHENTICATED", () -> stranger.getKVClient().get(bytes("java/auth/a")));
      }
    }
    done(auth.userRevokeRole(name, role));
    done(auth.roleRevokePermission(role, bytes("java/auth/"), bytes("java/auth0")));
    done(auth.userDelete(name));
    done(auth.roleDelete(role));
  }

  public static void main(String[] arguments) throws Exception {
    JetcdProgram program = new JetcdProgram(arguments);
    done(program.client.getKVClient().delete(bytes("java/"), DeleteOption.builder().isPrefix(true).build()));
    String[] names = {
      "keys and ranges", "transactions", "compaction", "watches", "watch progress", "leases", "locks",
      "elections", "members", "maintenance", "users and roles"
    };
    Feature[] features = {
      program::keysAndRanges, program::transactions, program::compaction, program::watches,
      program::watchProgress, program::leases, program::locks, program::elections, program::members,
      program::maintenance, program::usersAndRoles
    };
    for (int at = 0; at < names.length; at++) {
      features[at].run();
      System.out.println("ok " + names[at]);
    }
    program.client.close();
    System.exit(0);
  }
}
