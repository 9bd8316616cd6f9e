@0xb7c5a1f04e92d36b;
# The public interface of Joblet Storage.
#
# Transport. Cap'n Proto RPC (two-party, level 1) over the Unix stream socket /run/joblet/api.sock. A client's user is
# what the kernel says of the socket (SO_PEERCRED) at the time of connecting; nothing in a message can change it. Some
# answers carry file descriptors: those are attached to capabilities of type Descriptor and travel as SCM_RIGHTS, at most 2
# per message. A client sends none: one that does loses its connection.
#
# Bounds of a connection. A message has at most `max_message_bytes` (api.toml, 4 MiB by default) and at most 64 levels of
# nesting. A client that sends something that is not Cap'n Proto, goes beyond these bounds, or does not read what it
# asked for, loses its connection; other clients notice nothing. Calls that were under way are still carried out or refused;
# jobs that were started run on. A user who has as many connections as he may have (limits.connections), or may not connect, is
# told so by the error of his first call, and the connection is closed within seconds.
#
# Units. Sizes are bytes. Times are nanoseconds since 1970 (CLOCK_REALTIME); 0 is "never". Ids are 32 lower-case
# hexadecimal digits. Texts are UTF-8.
#
# Errors are data. Each result is a Result(T): either `value` or `error`. Exceptions of the RPC system mean only that the
# connection is lost, that a daemon is gone, or that the peer speaks another version of this file; they never carry a refusal.
#
# Who may call. Everybody who may connect may call everything, for his own volumes and jobs. What belongs to somebody else
# behaves as if it did not exist (notFound). uid 0 and the admins listed in broker.toml may go beyond that where a request
# has a `scope` and only when they say so; for others such a scope is permissionDenied. A job can use only volumes of
# the user who runs it, whoever that is.
#
# Growth. Fields and methods are only ever added. A field that asks for something which this version does not have is refused
# with `unimplemented` and never ignored; zero, false, empty or null asks for nothing.

using Cxx = import "/capnp/c++.capnp";
$Cxx.namespace("joblet::rpc");

const interfaceVersion :UInt32 = 1;

# ---------------------------------------------------------------------------------------------------- common shapes

struct Result(T) {
  # Invariant: `error.code` is never `ok`.
  union {
    error @0 :Error;
    value @1 :T;
  }
}

struct Empty {}

struct Error {
  code @0 :ErrorCode;
  message @1 :Text;
  # One English sentence without a full stop, that names what was asked and what is wrong with it. Never empty.
  hint @2 :Text;
  # What to do about it, one sentence. May be empty.
  fields @3 :List(Field);
  # The facts in the message, for programs. Names in use:
  #   volume, job, user       ids (decimal uid) of what the error is about; `job` once for each job that holds the volume
  #   limit, limit_name, used, asked    limitExceeded and outOfSpace: bytes or counts, decimal; the limit's name in broker.toml
  #   step, errno             internal: what was being done, and the kernel's error by name (ENOSPC)
  #   field                   invalidArgument: which field of the request
  #   difference              conflict: once for each, "size_bytes: 1048576 there, 2097152 asked"

  struct Field {
    name @0 :Text;
    value @1 :Text;
  }
}

enum ErrorCode {
  # The numbers equal joblet::ErrorCode (shared/error.h).
  ok @0;
  invalidArgument @1;   # malformed: the request must be changed
  notFound @2;          # no such volume or job, or not the caller's
  conflict @3;          # the name is taken by something different
  inUse @4;             # attached to a running job
  permissionDenied @5;  # the caller may not do this
  limitExceeded @6;     # a limit set by root
  outOfSpace @7;        # the store has no room
  unsupported @8;       # this host cannot hold what was asked
  unimplemented @9;     # declared, not built in this version
  unavailable @10;      # a daemon is restarting, or was too slow: try again
  internal @11;         # a kernel call failed that should not: see the log
  quarantined @12;      # the volume's state is unknown after a failure; an operator must look
}

struct Label {
  key @0 :Text;
  # 1 to 63 characters of [A-Za-z0-9_./-], beginning with a letter or digit.
  value @1 :Text;
  # 0 to 255 bytes of UTF-8 without control characters.
  # All labels of one volume, each with a NUL after key and value, have at most 4096 bytes. Lists of labels are sorted by key
  # in answers, in any order in requests; a key twice is invalidArgument.
}

struct Scope {
  # Whose things a request is about. Only uid 0 and admins may say anything but `own`; each such use is in the audit record
  # as an admin's.
  union {
    own @0 :Void;
    user @1 :UInt32;        # that uid's
    everybody @2 :Void;     # all users' (lists), or whoever owns it (one thing)
  }
}

struct VolumeSelector {
  volume @0 :Text;
  # A name, an id, or the first 8 or more digits of an id that begin no other visible id. An exact name comes first, then
  # an id, then a prefix. Several matches: invalidArgument, with a `volume` field for each.
  scope @1 :Scope;
}

struct JobSelector {
  job @0 :Text;
  # As for volumes: a name given at `run`, an id, or 8 or more digits of it.
  scope @1 :Scope;
}

struct Page {
  size @0 :UInt32;
  # Entries wanted; 0: 100. At most 1000 are given.
  after @1 :Text;
  # `next` of the page before; empty: from the start. It belongs to the same filter and sort order; a page of a list that
  # changes meanwhile neither repeats nor skips what was there all the time.
}

interface Descriptor {
  # Stands for one open file descriptor of the sender, which comes attached to it. It has no methods.
}

interface ControlSocket {
  # The end of a control socket that will be a job's. It has no methods, and no descriptor comes with it.
}

interface Joblet {
  # The bootstrap capability of each connection. The services may be used before their promise is resolved (pipelining).

  version @0 () -> (version :Version);
  volumes @1 () -> (service :VolumeService);
  jobs @2 () -> (service :JobService);
  host @3 () -> (service :HostService);

  struct Version {
    software @0 :Text;           # "0.1.0"
    interfaceVersion @1 :UInt32; # the constant above, as the daemon was built
    uid @2 :UInt32;              # of the caller, as the kernel reports it
    admin @3 :Bool;              # may use scopes beyond `own`
  }
}

# ---------------------------------------------------------------------------------------------------- volumes

enum VolumeType {
  any @0;         # in filters only; at create: filesystem
  filesystem @1;  # persists until deleted
  memory @2;      # made when attached, gone when its job ends
}

enum Backend {
  auto @0;          # at create: the best of the host; in filters: any
  image @1;         # a preallocated file with ext4
  tmpfs @2;         # memory
  projectQuota @3;  # a directory under an XFS or ext4 project quota
  btrfs @4;         # a subvolume under a qgroup
}

enum VolumeStatus {
  any @0;          # in filters only: everything but `trashed`
  available @1;
  inUse @2;        # attached to a job that is alive
  trashed @3;      # deleted, can be restored until `trashedUntil`
  quarantined @4;  # its state is unknown after a failure; an operator must look
}

struct Volume {
  id @0 :Text;
  name @1 :Text;
  owner @2 :UInt32;              # uid
  type @3 :VolumeType;
  backend @4 :Backend;
  status @5 :VolumeStatus;
  sizeBytes @6 :UInt64;          # usable, as asked
  inodes @7 :UInt64;             # as asked; 0: the backend's default
  softSizeBytes @8 :UInt64;      # 0: none
  softInodes @9 :UInt64;         # 0: none
  createdNs @10 :Int64;
  lastUsedNs @11 :Int64;         # 0: never attached
  currentJob @12 :Text;          # id of a job that has it attached (of several readers: one); empty: none
  labels @13 :List(Label);
  enforcement @14 :Text;         # who holds the limit: always "kernel"
  protected @15 :Bool;           # deletion is refused
  trashedUntilNs @16 :Int64;     # status trashed: when it is gone for good
  io @17 :IoLimits;              # defaults for jobs that attach it; null: none
  source @18 :Text;              # id of the snapshot or volume it was cloned from; empty: none
  noSwap @19 :Bool;              # memory: the kernel keeps it out of swap
}

struct IoLimits {
  # For each whole block device behind a job's volumes, per second; 0: none. Bytes: 4 KiB at least, operations: 2.
  readBytes @0 :UInt64;
  writeBytes @1 :UInt64;
  readOperations @2 :UInt64;
  writeOperations @3 :UInt64;
}

struct VolumeUsage {
  id @0 :Text;
  # As the kernel counts them now; never found by walking the tree.
  usedBytes @1 :UInt64;
  sizeBytes @2 :UInt64;
  softSizeBytes @3 :UInt64;
  usedInodes @4 :UInt64;
  inodes @5 :UInt64;
  softInodes @6 :UInt64;
  # Limits as the kernel holds them, which may be above what was asked (room for the file system's own); 0: none.
  graceEndsNs @7 :Int64;       # above the soft limit of bytes: when nothing more can be written; 0: not above it
  inodesGraceEndsNs @8 :Int64; # likewise of inodes
}

interface VolumeService {

  createVolume @0 (name :Text, sizeBytes :UInt64, type :VolumeType, backend :Backend, inodes :UInt64, softSizeBytes :UInt64,
                   softInodes :UInt64, labels :List(Label), sparse :Bool, io :IoLimits) -> (result :Result(Created));
  # Makes a volume of the caller's. After the answer it survives a crash of the host.
  #   name       1 to 63 characters of [A-Za-z0-9_.-], beginning with a letter or digit; unique among the caller's volumes
  #   sizeBytes  1 MiB to 1 PiB: space that files in it can use
  #   inodes     0: the backend's default for this size; at most one for each KiB of it
  #   soft…      0, or below the hard one
  #   sparse     image backend: do not preallocate (then a full store is the writer's problem)
  # The same name again with the same type, size, inodes, soft limits and (unless auto) backend is the same volume: `existed` is true
  # and nothing changes, labels and limits of I/O included. A different one is a `conflict`.
  # Errors: invalidArgument, conflict, limitExceeded, outOfSpace, unsupported.

  struct Created {
    volume @0 :Volume;
    existed @1 :Bool;
  }

  listVolumes @1 (filter :Filter, sort :Sort, descending :Bool, page :Page, scope :Scope) -> (result :Result(Listing));
  # Volumes for which all of the filter holds. From memory; no disk is asked. An empty list is no error.

  struct Filter {
    type @0 :VolumeType;
    status @1 :VolumeStatus;
    backend @2 :Backend;
    labels @3 :List(LabelFilter); # all must hold
    namePrefix @4 :Text;          # for completion in shells
  }
  struct LabelFilter {
    key @0 :Text;
    union {
      present @1 :Void; # the label is there, whatever its value
      value @2 :Text;   # and has this value
    }
  }
  enum Sort {
    name @0; # by owner, then name, in byte order
    created @1;
    size @2;
    lastUsed @3;
  }
  struct Listing {
    volumes @0 :List(Volume);
    next @1 :Text;    # for Page.after; empty: this was the last page
    matching @2 :UInt64; # how many there are in all pages
  }

  getVolume @2 (selector :VolumeSelector) -> (result :Result(Volume));
  # Errors: notFound, invalidArgument.

  deleteVolume @3 (selector :VolumeSelector, force :Bool, now :Bool, wait :Bool) -> (result :Result(Empty));
  # Removes a volume. After the answer its name is free. Contents are deleted later, without anybody waiting, unless `wait`.
  #   force  detach it from running jobs first (they keep what they have open)
  #   now    do not keep it in the trash
  #   wait   answer when its contents are gone, too; only with `now` (invalidArgument)
  # A volume in the trash is found by its id or the beginning of it, with `now` also by a name that no other volume of the owner
  # has; without `now` it is a conflict that it is there already.
  # Errors: notFound, conflict, inUse (with each job), permissionDenied (protected), quarantined, limitExceeded (too many waits).

  # In what follows, even admins act only on volumes of their own, protectVolume excepted: another scope is permissionDenied.
  # A volume in the trash is a conflict, but for restoreVolume.

  renameVolume @4 (selector :VolumeSelector, name :Text) -> (result :Result(Volume));
  # Errors: notFound, conflict, inUse.

  labelVolume @5 (selector :VolumeSelector, set :List(Label), remove :List(Text)) -> (result :Result(Volume));
  # Adds or replaces `set`, drops the keys in `remove` (one that is not there is no error). A key has its place in one of
  # them, once. Calls for one volume take effect one after the other.
  # Errors: notFound, conflict, invalidArgument (also if all labels together are too long).

  protectVolume @6 (selector :VolumeSelector, protected :Bool) -> (result :Result(Volume));
  # A protected volume cannot be deleted, by anybody. Errors: notFound, conflict.

  restoreVolume @7 (selector :VolumeSelector, name :Text) -> (result :Result(Volume));
  # Brings a trashed volume back under its own name or, if not empty, `name`. The selector looks among the trashed volumes only;
  # several of them may have one name. Errors: notFound, conflict (the name is taken), invalidArgument (several, with each id).

  resizeVolume @8 (selector :VolumeSelector, sizeBytes :UInt64, inodes :UInt64, softSizeBytes :UInt64, softInodes :UInt64)
               -> (result :Result(Volume));
  # 0 leaves a value as it is; 2^64 - 1 takes a soft limit away. Grows while attached; shrinks only where nothing can be lost: not
  # below what is used (limitExceeded, with `used`), and an image only while no job has it.
  # Errors: notFound, conflict, invalidArgument, limitExceeded, outOfSpace, unsupported, inUse, quarantined.

  getUsage @9 (volumes :List(Text), scope :Scope) -> (result :Result(Usage));
  # Empty list: all volumes in scope that are neither trashed nor quarantined (at most 1000, in order of owner and name). One that is
  # named and cannot be found or measured is an error of the call.

  struct Usage {
    volumes @0 :List(VolumeUsage);
  }

  attachVolume @10 (selector :VolumeSelector, job :Text, readOnly :Bool) -> (result :Result(Empty));
  # Adds a volume to a running job of the caller's, at /volumes/<name>.
  # Errors: notFound (either), inUse, conflict (it has it, or another one of that name), limitExceeded, quarantined.

  detachVolume @11 (selector :VolumeSelector, job :Text) -> (result :Result(Empty));
  # Takes its paths away at once; what the job has open stays readable and writable until closed.
  # Errors: notFound (either, or the volume is not attached to the job).

  shareVolume @12 (selector :VolumeSelector, user :UInt32, access :ShareAccess) -> (result :Result(Volume));
  # Grants another user the right to attach it in jobs (`none` takes it back for jobs to come). Errors: notFound.

  enum ShareAccess {
    none @0;
    readOnly @1;
    readWrite @2;
  }

  snapshotVolume @13 (selector :VolumeSelector, name :Text) -> (result :Result(Volume));
  # A read-only volume with the contents as they are now. Errors: notFound, conflict, limitExceeded, outOfSpace, unsupported.

  cloneVolume @14 (selector :VolumeSelector, name :Text) -> (result :Result(Volume));
  # A volume of its own with the same contents. Errors as for a snapshot.
}

# ---------------------------------------------------------------------------------------------------- jobs

enum JobState {
  any @0;       # in filters only
  starting @1;
  running @2;
  ended @3;
}

struct Job {
  id @0 :Text;
  name @1 :Text;               # given at run; empty: none
  owner @2 :UInt32;            # uid
  state @3 :JobState;
  startedNs @4 :Int64;
  exit @5 :Exit;               # state ended; otherwise null
  command @6 :List(Text);      # empty if it was started before the daemon lost its history
  base @7 :Text;
  volumes @8 :List(JobVolume);
  hostName @9 :Text;
  limits @10 :EffectiveLimits;
}

struct EffectiveLimits {
  # What the kernel holds the job to; 0: no such limit.
  memoryBytes @0 :UInt64;
  swapBytes @1 :UInt64;
  # Counts only if `controllers` has "memory": then 0 means none at all.
  processes @2 :UInt64;
  cpuMilli @3 :UInt64;
  io @4 :IoLimits;
  devices @5 :List(Text);
  # That `io` is for: whole block devices, "8:0".
  controllers @6 :List(Text);
  # That hold any of this: "cpu", "io", "memory", "pids".
}

struct JobVolume {
  volume @0 :Text;
  # At run: name, id or 8 or more digits of it, always of the caller's own. In answers: the id.
  name @1 :Text;
  # In answers: the name; empty if the volume is gone.
  target @2 :Text;
  # Empty: only at /volumes/<name>. Otherwise also here: an absolute, normal path of at most 127 printable characters that is
  # neither reserved (/proc /sys /dev /volumes /work /tmp /bin /sbin /lib /lib64 /usr /etc and below) nor above or below
  # another target.
  readOnly @3 :Bool;
}

struct Exit {
  kind @0 :Kind;
  code @1 :UInt8;        # exited
  signal @2 :UInt8;      # signaled
  status @3 :UInt8;      # as a shell sees it: the code, 128 + signal, 125 ours, 126 and 127 exec's
  reason @4 :Text;       # one phrase for people, for example "exited with code 1", "killed by SIGSEGV"
  endedNs @5 :Int64;

  enum Kind {
    # The numbers equal joblet::ExitKind (shared/exit_record.h).
    none @0;
    exited @1;
    signaled @2;
    setupFailed @3;  # the job's world could not be made
    execFailed @4;   # the command could not be executed
    killed @5;       # every process was killed at once (by request or out of memory)
  }
}

struct RunRequest {
  command @0 :List(Text);
  # At least one; a command without '/' is looked for in the job's PATH. Together with environment and directory at most 2 MiB.
  environment @1 :List(Text);
  # NAME=VALUE, added to or replacing: PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/work
  # HOSTNAME=<host name>, the latter if `hostName` is given. A name twice: the last counts.
  workingDirectory @2 :Text;
  # Absolute; empty: /work.
  volumes @3 :List(JobVolume);
  # At most 16, none twice.
  base @4 :Text;
  # A base named in broker.toml; empty: minimal.
  hostName @5 :Text;
  # Grammar of volume names; empty: the first twelve digits of the job's id.

  control @6 :ControlSocket;
  # What openControl gave, for one run, refused or not. Before this call, the caller has sent a ControlHello into his end: with the job's stdin,
  # stdout and stderr (pipe, socket, regular file opened without O_PATH, terminal or null device), which wait there for the job; or
  # asking for a terminal of the job's own, whose master then comes out of it. Later signals go in, one exit record comes
  # out, and a hang-up means SIGHUP for the job (shared/exit_record.h). Needed unless `detached`, and refused with it.

  name @7 :Text;             # grammar of volume names, unique among the caller's jobs that are not removed; empty: none
  detached @8 :Bool;         # stdin is /dev/null, output goes to the job's log, and nobody's end ends it
  user @9 :UInt32;           # inside the job, 0 … 65535; 0 has no power outside
  group @10 :UInt32;         # likewise
  timeoutNs @11 :UInt64;     # SIGTERM then, SIGKILL ten seconds later; 0: none; at most a year
  network @12 :Network;
  readOnlyWork @13 :Bool;
  workBytes @14 :UInt64;     # of /work; 0: as configured; at least 64 KiB
  tmpBytes @15 :UInt64;      # of /tmp; likewise
  removeAfterwards @16 :Bool; # detached: forget the job when it ends
  logMaxBytes @17 :UInt64;   # detached: the log keeps at most this; 0: as configured; at least 64 KiB
  dryRun @18 :Bool;          # decide and describe, start nothing: Started.world; needs no control
  limits @19 :ResourceLimits; # null: as configured

  enum Network {
    none @0; # loopback only
    host @1; # where broker.toml allows it
  }
}

struct World {
  # What a job would have.
  mounts @0 :List(Mount);
  uidFirst @1 :UInt32;     # host uid and gid of the job's 0, if it were started now
  uidCount @2 :UInt32;
  user @3 :UInt32;         # inside
  group @4 :UInt32;
  hostName @5 :Text;       # empty: made of the job's id
  workingDirectory @6 :Text;
  environment @7 :List(Text);
  command @8 :List(Text);
  network @9 :RunRequest.Network;
  timeoutNs @10 :UInt64;
  logMaxBytes @11 :UInt64; # 0: no log
  base @12 :Text;
  limits @13 :EffectiveLimits;

  struct Mount {
    path @0 :Text;
    kind @1 :Text;       # "base", "volume", "memory", "proc", "devices", "terminals"
    sizeBytes @2 :UInt64; # 0: not limited by itself
    readOnly @3 :Bool;
    volume @4 :Text;     # its name, if it is one
  }
}

struct ResourceLimits {
  # Each is held by the kernel or the run is refused; 0: not asked for, which means as configured (of `io`: the lowest that any
  # of the volumes has). At least 4 MiB of memory, 2 processes (one is ours), 10 thousandths of a CPU.
  memoryBytes @0 :UInt64;
  swapBytes @1 :UInt64;
  # Besides memory; 0: none.
  processes @2 :UInt64;
  # Threads count.
  cpuMilli @3 :UInt64;  # thousandths of one CPU
  io @4 :IoLimits;
}

struct Log {
  # Two files, open for reading, in no particular order; shared/job_log.h says what is in them. They go on growing while the job
  # runs, and can be read as long as the caller keeps them, also when the job is removed.
  first @0 :Descriptor;
  second @1 :Descriptor;
}

interface JobService {

  run @0 (request :RunRequest) -> (result :Result(Started));
  # Starts a job. The answer comes when the job is decided and ordered; whether the command could be executed is seen at
  # the control socket, or by `wait`.
  # Errors: invalidArgument, notFound (a volume, the base), conflict (the name), inUse (a volume, with the job), limitExceeded,
  # quarantined, permissionDenied (the host's network), unsupported (the base was refused).

  struct Started {
    job @0 :Job;
    world @1 :World; # with `dryRun`; otherwise null, and with it `job` has no id
  }

  listJobs @1 (state :JobState, page :Page, scope :Scope, namePrefix :Text) -> (result :Result(Listing));
  # Newest first. Ended jobs stay until removed, within bounds set by root.

  struct Listing {
    jobs @0 :List(Job);
    next @1 :Text;       # for Page.after; empty: this was the last page
    matching @2 :UInt64; # how many there are in all pages
  }

  getJob @2 (selector :JobSelector) -> (result :Result(Job));
  # Errors: notFound, invalidArgument.

  wait @3 (selector :JobSelector) -> (result :Result(Job));
  # Answers when the job has ended. At most 64 waits (jobs and deletions) per connection are open at one time (limitExceeded).
  # Errors: notFound, also if the job is removed while waiting.

  signal @4 (selector :JobSelector, signal :UInt32) -> (result :Result(Empty));
  # 1 to 31. SIGKILL ends every process of the job at once, others go to its main process. To a job that has ended: notFound.

  stop @5 (selector :JobSelector, graceNs :UInt64) -> (result :Result(Job));
  # SIGTERM, then SIGKILL after the grace (0: ten seconds; at most one hour); answers when the job has ended. One that had
  # ended already is no error.

  remove @6 (selector :JobSelector) -> (result :Result(Empty));
  # Forgets an ended job, its exit record and its log. Errors: notFound, inUse (it has not ended).

  logs @7 (selector :JobSelector) -> (result :Result(Log));
  # Of a detached job, running or ended. At most 16 logs per connection are held at one time (limitExceeded).
  # Errors: notFound, also if the job has no log.

  prune @8 (scope :Scope) -> (result :Result(Pruned));
  # `remove` for every ended job in scope.

  struct Pruned {
    jobs @0 :List(Text); # ids
  }

  openControl @9 () -> (result :Result(Control));
  # A SOCK_SEQPACKET pair for one run: an end for the caller, and what stands for the other in RunRequest.control. At most 16 per
  # connection are held at one time (limitExceeded).

  struct Control {
    end @0 :Descriptor;
    control @1 :ControlSocket;
  }
}

# ---------------------------------------------------------------------------------------------------- the host

interface HostService {

  listBases @0 () -> (result :Result(Bases));
  # The root file systems a job can have.

  struct Bases {
    bases @0 :List(Base);
  }
  struct Base {
    name @0 :Text;
    proc @1 :Text;     # "pids": /proc shows the job's processes; "masked": all of it but its dangerous parts
    usable @2 :Bool;   # false: it was refused when the daemons started; their log says why
  }

  doctor @1 () -> (result :Result(Report));
  # What this host can hold, and, for admins, whether store, records and kernel agree. Backends are tried: a small volume is made,
  # a job writes beyond its limit, and it is removed.

  struct Report {
    checks @0 :List(Check);
    differences @1 :List(Text); # between store, records and kernel, one sentence each; empty: none
    compared @2 :Bool;          # false: the caller is no admin, and nothing was compared
    moreDifferences @3 :Bool;   # there are others
    slotFirst @4 :UInt32;       # host uids of jobs begin here
    slotCount @5 :UInt32;       # and come in so many slots of 65536
    auditRecords @6 :UInt64;    # number of the last audit record
  }
  struct Check {
    subject @0 :Text; # "backend btrfs"
    ok @1 :Bool;
    detail @2 :Text;  # what was found
    lost @3 :Text;    # not ok: what does not work without it
    remedy @4 :Text;  # not ok: how to get it
  }
}
