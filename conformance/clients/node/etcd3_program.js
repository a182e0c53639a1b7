// Drives a cluster with node's etcd3: what it does must work as it does against etcd.
//
// Usage: node etcd3_program.js HOST:PORT,HOST:PORT,… [CA.pem USER PASSWORD]
//
// It prints a line `ok <feature>` for each feature that works, and ends with 0 if all do.
'use strict';

const assert = require('node:assert/strict');
const { once } = require('node:events');
const { readFileSync } = require('node:fs');
const { setTimeout: pause } = require('node:timers/promises');
const path = require('node:path');
const { createRequire } = require('node:module');

// The packages lie where they were installed, which need not be beside this file.
const packages = process.env.CONFORMANCE_NODE_MODULES;
const load = packages ? createRequire(path.join(packages, 'x.js')) : require;
const etcd3 = load('etcd3');

const [endpoints, ca, user, password] = process.argv.slice(2);
const hosts = endpoints.split(',').map((host) => (ca ? `https://${host}` : host));

function connect(auth = user && { username: user, password }, to = hosts) {
  const credentials = ca && { rootCertificate: readFileSync(ca) };
  return new etcd3.Etcd3({ hosts: to, credentials, auth, dialTimeout: 10_000 });
}

/** Asks until the answer is there; the whole program has a deadline. */
async function eventually(ask) {
  for (;;) {
    const answer = await ask();
    if (answer) return answer;
    await pause(20);
  }
}

async function keysAndRanges(client) {
  await client.put('node/kv/a').value('1');
  await client.put('node/kv/b').value(2);
  await client.put('node/kv/c').value(Buffer.from([0, 255]));
  assert.equal(await client.get('node/kv/a').string(), '1');
  assert.equal(await client.get('node/kv/b').number(), 2);
  assert.deepEqual(await client.get('node/kv/c').buffer(), Buffer.from([0, 255]));
  assert.equal(await client.get('node/kv/none'), null);
  assert.equal(await client.get('node/kv/none').exists(), false);
  assert.deepEqual(await client.getAll().prefix('node/kv/').keys(), ['node/kv/a', 'node/kv/b', 'node/kv/c']);
  assert.equal(await client.getAll().prefix('node/kv/').count(), 3);
  assert.deepEqual(await client.getAll().prefix('node/kv/').sort('Key', 'Descend').limit(1).keys(), ['node/kv/c']);
  assert.deepEqual(await client.getAll().inRange({ start: 'node/kv/a', end: 'node/kv/c' }).keys(), ['node/kv/a', 'node/kv/b']);
  const { kvs } = await client.get('node/kv/a').exec();
  const before = await client.put('node/kv/a').value('new').getPrevious();
  assert.equal(before.value.toString(), '1');
  assert.equal(await client.get('node/kv/a').revision(kvs[0].mod_revision), '1');
  assert.equal(await client.get('node/kv/a').serializable(true).exists(), true);
  await client.put('node/kv/a').touch();
  assert.equal((await client.get('node/kv/a').exec()).kvs[0].version, '3');
  const inside = client.namespace('node/kv/');
  assert.equal(await inside.get('a').string(), 'new');
  const gone = await client.delete().prefix('node/kv/').getPrevious();
  assert.equal(gone.length, 3);
  assert.equal((await client.delete().prefix('node/kv/').exec()).deleted, '0');
}

async function transactions(client) {
  await client.put('node/txn/a').value('x');
  const first = await client
    .if('node/txn/a', 'Value', '==', 'x')
    .and('node/txn/a', 'Version', '>', 0)
    .and('node/txn/a', 'Mod', '!=', 0)
    .and('node/txn/a', 'Lease', '==', 0)
    .then(client.put('node/txn/a').value('y'), client.get('node/txn/a'))
    .else(client.put('node/txn/a').value('z'))
    .commit();
  assert.equal(first.succeeded, true);
  assert.equal(first.responses[1].response_range.kvs[0].value.toString(), 'y');
  const second = await client
    .if('node/txn/a', 'Create', '==', 0)
    .then(client.put('node/txn/a').value('z'))
    .else(client.delete().key('node/txn/a'))
    .commit();
  assert.equal(second.succeeded, false);
  assert.equal(await client.get('node/txn/a').exists(), false);
  const put = { request_put: { key: Buffer.from('node/txn/b'), value: Buffer.from('1') } };
  await assert.rejects(client.kv.txn({ compare: [], success: [put, put], failure: [] }), /duplicate key given in txn request/);
}

async function compaction(client) {
  await client.put('node/compact').value('1');
  const old = (await client.get('node/compact').exec()).header.revision;
  await client.put('node/compact').value('2');
  const newest = (await client.get('node/compact').exec()).header.revision;
  await client.kv.compact({ revision: newest, physical: true });
  await assert.rejects(client.get('node/compact').revision(old).exec(), /required revision has been compacted/);
  await assert.rejects(client.kv.compact({ revision: newest }), /required revision has been compacted/);
}

async function watches(client) {
  const watcher = await client.watch().prefix('node/watch/').withPreviousKV().create();
  const seen = [];
  watcher.on('put', (kv, previous) => seen.push(['put', kv.key.toString(), kv.value.toString(), previous?.value?.toString()]));
  watcher.on('delete', (kv, previous) => seen.push(['delete', kv.key.toString(), previous?.value?.toString()]));
  await client.put('node/watch/a').value('1');
  const from = (await client.get('node/watch/a').exec()).kvs[0].mod_revision;
  await client.put('node/watch/a').value('2');
  await client.put('node/elsewhere').value('3');
  await client.delete().key('node/watch/a');
  await eventually(() => seen.length >= 3);
  assert.deepEqual(seen, [
    ['put', 'node/watch/a', '1', undefined],
    ['put', 'node/watch/a', '2', '1'],
    ['delete', 'node/watch/a', '2'],
  ]);
  await watcher.cancel();

  const past = client.watch().key('node/watch/a').startRevision(from).only('delete').watcher();
  const [kv] = await once(past, 'delete');
  assert.equal(kv.key.toString(), 'node/watch/a');
  await past.cancel();

  // Many watchers on the stream of one client; each has its own events only.
  const many = await Promise.all([...Array(50).keys()].map((at) => client.watch().key(`node/watch/many/${at}`).create()));
  const events = many.map((one) => once(one, 'put'));
  for (const at of many.keys()) await client.put(`node/watch/many/${at}`).value(at);
  for (const [at, event] of events.entries()) assert.equal((await event)[0].value.toString(), `${at}`);
  await Promise.all(many.map((one) => one.cancel()));
}

async function leases(client) {
  const lease = client.lease(2, { autoKeepAlive: false });
  await lease.put('node/lease/a').value('1');
  const id = await lease.grant();
  const told = await client.leaseClient.leaseTimeToLive({ ID: id, keys: true });
  assert.equal(told.grantedTTL, '2');
  assert.deepEqual(told.keys.map(String), ['node/lease/a']);
  // Each member lists what it knows.
  await eventually(async () => (await client.leaseClient.leaseLeases()).leases.some((one) => one.ID === id));
  assert.equal((await lease.keepaliveOnce()).TTL, '2');
  await eventually(async () => !(await client.get('node/lease/a').exists()));

  const kept = client.lease(2);
  await kept.put('node/lease/b').value('1');
  await once(kept, 'keepaliveSucceeded');
  assert.equal(await client.get('node/lease/b').exists(), true);
  await kept.revoke();
  assert.equal(await client.get('node/lease/b').exists(), false);
  await assert.rejects(kept.put('node/lease/c').value('1').exec(), etcd3.EtcdLeaseInvalidError);
  const lost = client.lease(60);
  const told_of_it = once(lost, 'lost');
  await client.leaseClient.leaseRevoke({ ID: await lost.grant() });
  await lost.keepaliveOnce().catch((error) => assert.ok(error instanceof etcd3.EtcdLeaseInvalidError));
  await told_of_it;
}

async function locks(client, other) {
  const lock = await client.lock('node/lock').ttl(5).acquire();
  await assert.rejects(other.lock('node/lock').ttl(5).acquire(), etcd3.EtcdLockFailedError);
  await lock.release();
  assert.equal(await other.lock('node/lock').do(() => 'mine'), 'mine');
}

async function elections(client, other) {
  const election = client.election('node-election', 5);
  const one = election.campaign('one');
  await one.wait();
  assert.equal(await election.leader(), 'one');
  const observer = await other.election('node-election', 5).observe();
  await eventually(() => observer.leader() === 'one');
  await one.proclaim('one again');
  await eventually(() => observer.leader() === 'one again');
  const two = other.election('node-election', 5).campaign('two');
  await one.resign();
  await two.wait();
  await eventually(() => observer.leader() === 'two');
  await two.resign();
  await observer.cancel();
}

async function softwareTransactions() {
  // Its later reads are serializable and name the revision of the first: a member that is a moment
  // behind says that this is the future, here as with etcd. So one member is asked.
  const client = connect(undefined, hosts[0]);
  await client.put('node/stm').value(0);
  const add = () =>
    client.stm({ retries: 50 }).transact(async (tx) => {
      const count = await tx.get('node/stm').number();
      await tx.put('node/stm').value(count + 1);
    });
  await Promise.all([...Array(8)].map(add));
  assert.equal(await client.get('node/stm').number(), 8);
  client.close();
}

async function members(client) {
  const list = await client.cluster.memberList({});
  assert.equal(list.members.length, hosts.length);
  const added = await client.cluster.memberAdd({ peerURLs: ['http://127.0.0.1:1'], isLearner: true });
  assert.equal(added.members.length, hosts.length + 1);
  await client.cluster.memberUpdate({ ID: added.member.ID, peerURLs: ['http://127.0.0.1:2'] });
  const promoted = client.cluster.memberPromote({ ID: added.member.ID });
  await assert.rejects(promoted, /can only promote a learner member which is in sync with leader/);
  await client.cluster.memberRemove({ ID: added.member.ID });
  await assert.rejects(client.cluster.memberRemove({ ID: added.member.ID }), /member not found/);
}

async function maintenance(client) {
  const status = await client.maintenance.status();
  assert.ok(Number(status.dbSize) > 0 && status.leader !== '0', status);
  assert.deepEqual((await client.maintenance.alarm({ action: 'Get', memberID: 0, alarm: 'None' })).alarms, []);
  await client.maintenance.defragment();
  assert.ok((await client.maintenance.hash()).hash !== undefined);
  // Its hashKV cannot be called: the client looks for a method of a name that grpc-js does not make.
  if (!user) {
    // The client sends no token when it asks for a snapshot.
    const stream = await client.maintenance.snapshot();
    let bytes = 0;
    stream.on('data', (part) => { bytes += part.blob.length; });
    await once(stream, 'end');
    assert.equal(bytes % 512, 32);
  }

  const states = await Promise.all(hosts.map(async (host) => {
    const one = connect(undefined, host);
    return { one, status: await one.maintenance.status() };
  }));
  const leader = states.find(({ status }) => status.header.member_id === status.leader);
  const follower = states.find(({ status }) => status.header.member_id !== status.leader);
  const target = follower.status.header.member_id;
  await leader.one.maintenance.moveLeader({ targetID: target });
  await eventually(async () => (await leader.one.maintenance.status()).leader === target);
  states.forEach(({ one }) => one.close());
}

async function usersAndRoles(root) {
  const role = await root.role('node-role').create();
  await role.grant({ permission: 'Readwrite', range: root.range({ prefix: 'node/auth/' }) });
  await assert.rejects(root.role('node-role').create(), etcd3.EtcdRoleExistsError);
  const someone = await root.user('node-user').create('first');
  await someone.addRole(role);
  await someone.setPassword('second');
  assert.deepEqual((await someone.roles()).map((one) => one.name), ['node-role']);
  assert.equal((await role.permissions())[0].permission, 'Readwrite');
  assert.ok((await root.getUsers()).some((one) => one.name === 'node-user'));
  assert.ok((await root.getRoles()).some((one) => one.name === 'node-role'));
  if (user) {
    const client = connect({ username: 'node-user', password: 'second' });
    await client.put('node/auth/a').value('1');
    await assert.rejects(client.put('node/outside').value('1').exec(), etcd3.EtcdPermissionDeniedError);
    await assert.rejects(client.getAll().all().keys(), etcd3.EtcdPermissionDeniedError);
    client.close();
    const stranger = connect({ username: 'node-user', password: 'wrong' });
    await assert.rejects(stranger.get('node/auth/a').exec(), etcd3.EtcdAuthenticationFailedError);
    stranger.close();
  }
  await someone.removeRole(role);
  await role.revoke({ permission: 'Readwrite', range: root.range({ prefix: 'node/auth/' }) });
  await someone.delete();
  await role.delete();
  await assert.rejects(root.role('node-role').permissions(), etcd3.EtcdRoleNotFoundError);
}

async function main() {
  const [client, other] = [connect(), connect()];
  await client.delete().prefix('node/');
  for (const [name, run] of [
    ['keys and ranges', keysAndRanges],
    ['transactions', transactions],
    ['compaction', compaction],
    ['watches', watches],
    ['leases', leases],
    ['locks', locks],
    ['elections', elections],
    ['software transactions', softwareTransactions],
    ['members', members],
    ['maintenance', maintenance],
    ['users and roles', usersAndRoles],
  ]) {
    await run(client, other);
    console.log(`ok ${name}`);
  }
  client.close();
  other.close();
}

main().then(
  () => process.exit(0),
  (error) => {
    console.error(error);
    process.exit(1);
  },
);
