// The boundary's decode: what is exactly a request decodes, and nothing else does.
#include <doctest/doctest.h>

#include <cstring>
#include <functional>
#include <random>
#include <set>
#include <span>
#include <string_view>
#include <vector>

#include "shared/protocol_messages.h"

using namespace joblet;
using namespace joblet::protocol;

namespace {

template <class R> R with_header(ConnectionNumber connection) {
    R request;
    request.header.type = R::kType;
    request.header.sequence = 1;
    request.header.connection = connection;
    return request;
}

CreateVolume good_create() {
    auto r = with_header<CreateVolume>(7);
    r.name = NameText("data");
    r.size_bytes = kVolumeSizeMin;
    r.type = VolumeType::Filesystem;
    r.labels_size = 4;
    std::memcpy(r.labels.data(), "k\0v", 4);
    return r;
}
StartJob good_start() {
    auto r = with_header<StartJob>(7);
    r.base = NameText("minimal");
    r.channel = 3;
    r.volume_count = 2;
    r.volumes[0].id = make_random_id<VolumeId>();
    r.volumes[0].target = TargetText("/data");
    r.volumes[1].id = make_random_id<VolumeId>();
    r.volumes[1].access = Access::ReadOnly;
    return r;
}
template <class R> R good_with_id(ConnectionNumber connection) {
    auto r = with_header<R>(connection);
    r.id = make_random_id<decltype(r.id)>();
    return r;
}

template <class R> R good_with_job() {
    auto r = good_with_id<R>(7);
    r.job = make_random_id<JobId>();
    return r;
}
LabelVolume good_label() {
    auto r = good_with_id<LabelVolume>(7);
    r.labels_size = 4;
    std::memcpy(r.labels.data(), "k\0v", 4);
    return r;
}
RenameVolume good_rename() {
    auto r = good_with_id<RenameVolume>(7);
    r.name = NameText("data");
    return r;
}

ResizeVolume good_resize() {
    auto r = good_with_id<ResizeVolume>(7);
    r.size_bytes = kVolumeSizeMin;
    return r;
}

template <class R> auto decoded(const R& request) {
    return decode(std::as_bytes(std::span(&request, 1)));
}
template <class R> void check_good(const R& request) {
    const auto& row = row_of(R::kType);
    CAPTURE(row.name);
    const auto result = decoded(request);
    REQUIRE(result.has_value());
    REQUIRE(std::holds_alternative<R>(*result));
    const bool same = std::memcmp(&std::get<R>(*result), &request, sizeof request) == 0;
    CHECK(same);
    CHECK(header_of(*result).sequence == 1);
    // one byte more or less
    const auto bytes = std::as_bytes(std::span(&request, 1));
    std::vector<std::byte> longer(bytes.begin(), bytes.end());
    longer.push_back(std::byte{0});
    CHECK(decode(longer).error() == DecodeError::Size);
    for (std::size_t size = 0; size < bytes.size(); ++size) {
        REQUIRE_FALSE(decode(bytes.first(size)).has_value());
    }
    // nobody to ask, or somebody where nobody may be named
    auto other = request;
    other.header.connection = request.header.connection == 0 ? 7 : 0;
    if (row.asker != Asker::Either) {
        CHECK(decoded(other).error() == DecodeError::Field);
    }
    other = request;
    other.header.sequence = 0;
    CHECK(decoded(other).error() == DecodeError::Field);
    other = request;
    other.header.version = 2;
    CHECK(decoded(other).error() == DecodeError::Version);
}
template <class R> void check_bad(const char* what, R request, const std::function<void(R&)>& spoil) {
    CAPTURE(what);
    spoil(request);
    const auto result = decoded(request);
    REQUIRE_FALSE(result.has_value());
    CHECK(result.error() == DecodeError::Field);
}

} // namespace

// case_06: which volume, where in the job, and how. There is no room for a path within a volume, or on the host.
static_assert(sizeof(protocol::JobVolume) ==
              sizeof(VolumeId) + sizeof(TargetText) + sizeof(protocol::Access) + sizeof(protocol::JobVolume::zero));

TEST_CASE("every request of the table decodes to itself, at its exact size") {
    check_good(good_create());
    check_good(good_with_id<DeleteVolume>(7));
    check_good(good_with_id<StatVolume>(0));
    check_good(with_header<ListVolumes>(0));
    check_good(good_start());
    auto signal = good_with_id<SignalJob>(7);
    signal.signal = 15;
    check_good(signal);
    check_good(with_header<ListJobs>(0));
    check_good(good_with_id<ReleaseJob>(0));
    check_good(with_header<CloseConnection>(7));
    check_good(good_with_id<RestoreVolume>(7));
    check_good(good_with_id<ProtectVolume>(7));
    check_good(good_label());
    check_good(good_rename());
    check_good(good_with_job<AttachVolume>());
    check_good(good_with_job<DetachVolume>());
    check_good(with_header<AdminRead>(7));
    check_good(good_with_id<AdminRead>(7));
    check_good(good_with_id<OpenLog>(7));
    check_good(with_header<ListBases>(0));
    check_good(good_resize());
    check_good(good_with_id<MeasureVolume>(7));
    check_good(with_header<HostReport>(7));
    check_good(with_header<CreateChannel>(7));
}

TEST_CASE("the table has each type once and what is not in it does not decode") {
    std::set<std::uint32_t> types;
    for (const auto& row : kRequests) {
        CHECK(types.insert(static_cast<std::uint32_t>(row.type)).second);
    }
    for (const std::uint32_t type : {0U, static_cast<std::uint32_t>(kRequests.size()) + 1, 0xffffffffU}) {
        auto request = with_header<CloseConnection>(7);
        request.header.type = static_cast<RequestType>(type);
        CHECK(decoded(request).error() == DecodeError::Type);
    }
}

TEST_CASE("a field outside its meaning does not decode") {
    using C = CreateVolume;
    check_bad<C>("empty name", good_create(), [](C& r) { r.name = {}; });
    check_bad<C>("path as name", good_create(), [](C& r) { r.name = NameText("../x"); });
    check_bad<C>("name that does not end", good_create(), [](C& r) { r.name.data.fill('x'); });
    check_bad<C>("something after the name's end", good_create(), [](C& r) { r.name.data[20] = 'x'; });
    check_bad<C>("too small", good_create(), [](C& r) { r.size_bytes = kVolumeSizeMin - 1; });
    check_bad<C>("too large", good_create(), [](C& r) { r.size_bytes = kVolumeSizeMax + 1; });
    check_bad<C>("too many inodes", good_create(), [](C& r) { r.inodes = r.size_bytes / kBytesPerInodeMin + 1; });
    check_bad<C>("type 0", good_create(), [](C& r) { r.type = static_cast<VolumeType>(0); });
    check_bad<C>("type 3", good_create(), [](C& r) { r.type = static_cast<VolumeType>(3); });
    check_bad<C>("a backend of the other type", good_create(), [](C& r) { r.backend = Backend::Tmpfs; });
    check_bad<C>("no backend", good_create(), [](C& r) { r.backend = static_cast<Backend>(9); });
    check_bad<C>("labels beyond the array", good_create(), [](C& r) { r.labels_size = kLabelsMax + 1; });
    check_bad<C>("bytes beyond the labels", good_create(), [](C& r) { r.labels[kLabelsMax - 1] = 1; });
    check_bad<C>("zero is not zero", good_create(), [](C& r) { r.zero = 1; });
    using D = DeleteVolume;
    check_bad<D>("no id", good_with_id<D>(7), [](D& r) { r.id = {}; });
    check_bad<D>("no such authority", good_with_id<D>(7), [](D& r) { r.authority = static_cast<Authority>(2); });
    using S = StartJob;
    check_bad<S>("no base", good_start(), [](S& r) { r.base = {}; });
    check_bad<S>("the base of system jobs", good_start(), [](S& r) { r.base = NameText("@system"); });
    check_bad<S>("a host name with a slash", good_start(), [](S& r) { r.host_name = NameText("a/b"); });
    check_bad<S>("too many volumes", good_start(), [](S& r) { r.volume_count = kJobVolumesMax + 1; });
    check_bad<S>("a volume beyond the count", good_start(), [](S& r) { r.volume_count = 1; });
    check_bad<S>("a volume without id", good_start(), [](S& r) { r.volumes[1].id = {}; });
    check_bad<S>("the same volume twice", good_start(), [](S& r) { r.volumes[1].id = r.volumes[0].id; });
    check_bad<S>("the same target twice", good_start(), [](S& r) { r.volumes[1].target = r.volumes[0].target; });
    check_bad<S>("a target below another", good_start(), [](S& r) { r.volumes[1].target = TargetText("/data/x"); });
    check_bad<S>("a reserved target", good_start(), [](S& r) { r.volumes[0].target = TargetText("/proc/x"); });
    check_bad<S>("a relative target", good_start(), [](S& r) { r.volumes[0].target = TargetText("data"); });
    check_bad<S>("a target with dots", good_start(), [](S& r) { r.volumes[0].target = TargetText("/a/../b"); });
    check_bad<S>("no such access", good_start(), [](S& r) { r.volumes[0].access = static_cast<Access>(2); });
    using K = SignalJob;
    check_bad<K>("signal 0", good_with_id<K>(7), [](K& r) { r.signal = 0; });
    check_bad<K>("signal 32", good_with_id<K>(7), [](K& r) { r.signal = 32; });
}

TEST_CASE("a field outside its meaning does not decode in changes of volumes either") {
    using D = DeleteVolume;
    auto every_flag = good_with_id<D>(7);
    every_flag.flags = kDeleteForce | kDeleteNow | kDeleteWait;
    check_good(every_flag);
    check_bad<D>("no such flag", good_with_id<D>(7), [](D& r) { r.flags = 8; });
    check_bad<D>("waiting for what is kept", good_with_id<D>(7), [](D& r) { r.flags = kDeleteWait | kDeleteForce; });
    using R = RestoreVolume;
    check_bad<R>("no id", good_with_id<R>(7), [](R& r) { r.id = {}; });
    check_bad<R>("path as name", good_with_id<R>(7), [](R& r) { r.name = NameText("../x"); });
    using P = ProtectVolume;
    check_bad<P>("no id", good_with_id<P>(7), [](P& r) { r.id = {}; });
    check_bad<P>("no such authority", good_with_id<P>(7), [](P& r) { r.authority = static_cast<Authority>(2); });
    check_bad<P>("neither yes nor no", good_with_id<P>(7), [](P& r) { r.is_protected = 2; });
    using L = LabelVolume;
    check_bad<L>("no id", good_label(), [](L& r) { r.id = {}; });
    check_bad<L>("labels beyond the array", good_label(), [](L& r) { r.labels_size = kLabelsMax + 1; });
    check_bad<L>("bytes beyond the labels", good_label(), [](L& r) { r.labels[kLabelsMax - 1] = 1; });
    check_bad<L>("zero is not zero", good_label(), [](L& r) { r.zero = 1; });
    using N = RenameVolume;
    check_bad<N>("no id", good_rename(), [](N& r) { r.id = {}; });
    check_bad<N>("no name", good_rename(), [](N& r) { r.name = {}; });
    using A = AttachVolume;
    check_bad<A>("no volume", good_with_job<A>(), [](A& r) { r.id = {}; });
    check_bad<A>("no job", good_with_job<A>(), [](A& r) { r.job = {}; });
    check_bad<A>("no such access", good_with_job<A>(), [](A& r) { r.access = static_cast<Access>(2); });
    check_bad<A>("zero is not zero", good_with_job<A>(), [](A& r) { r.zero = 1; });
    using T = DetachVolume;
    check_bad<T>("no volume", good_with_job<T>(), [](T& r) { r.id = {}; });
    check_bad<T>("no job", good_with_job<T>(), [](T& r) { r.job = {}; });
    using V = AdminRead;
    check_bad<V>("a volume and a user", good_with_id<V>(7), [](V& r) { r.uid = 1; });
    check_bad<V>("a volume and everybody", good_with_id<V>(7), [](V& r) { r.everybody = 1; });
    check_bad<V>("a user and everybody", with_header<V>(7), [](V& r) {
        r.uid = 1;
        r.everybody = 1;
    });
}

TEST_CASE("case_22: the options of a job decode up to their bounds and not beyond") {
    using S = StartJob;
    auto largest = good_start();
    largest.timeout_ns = kTimeoutMax;
    largest.work_bytes = largest.tmp_bytes = largest.log_bytes = kVolumeSizeMax;
    largest.user = largest.group = kInnerIdMax;
    largest.flags = kStartDetached | kStartHostNetwork | kStartReadOnlyWork | kStartDryRun;
    largest.channel = 0; // nothing is started
    check_good(largest);
    auto smallest = good_start();
    smallest.timeout_ns = 1;
    smallest.work_bytes = smallest.tmp_bytes = kScratchMin;
    smallest.log_bytes = kLogMin;
    smallest.flags = kStartDetached;
    check_good(smallest);
    check_bad<S>("more than a year", largest, [](S& r) { ++r.timeout_ns; });
    check_bad<S>("too large a /work", largest, [](S& r) { ++r.work_bytes; });
    check_bad<S>("too large a /tmp", largest, [](S& r) { ++r.tmp_bytes; });
    check_bad<S>("too large a log", largest, [](S& r) { ++r.log_bytes; });
    check_bad<S>("a user beyond the slot", largest, [](S& r) { ++r.user; });
    check_bad<S>("a group beyond the slot", largest, [](S& r) { ++r.group; });
    check_bad<S>("a channel for a dry run", largest, [](S& r) { r.channel = 1; });
    check_bad<S>("no channel", smallest, [](S& r) { r.channel = 0; });
    check_bad<S>("no such flag", largest, [](S& r) { r.flags = kStartDryRun << 1U; });
    check_bad<S>("too small a /work", smallest, [](S& r) { --r.work_bytes; });
    check_bad<S>("too small a /tmp", smallest, [](S& r) { --r.tmp_bytes; });
    check_bad<S>("too small a log", smallest, [](S& r) { --r.log_bytes; });
    check_bad<S>("a log of a job that is not detached", smallest, [](S& r) { r.flags = 0; });
    using O = OpenLog;
    check_bad<O>("no job", good_with_id<O>(7), [](O& r) { r.id = {}; });
    check_bad<O>("no such authority", good_with_id<O>(7), [](O& r) { r.authority = static_cast<Authority>(2); });
    check_bad<O>("zero is not zero", good_with_id<O>(7), [](O& r) { r.zero = 1; });
}

TEST_CASE("limits of a volume decode up to their bounds and not beyond") {
    using C = CreateVolume;
    auto most = good_create();
    most.inodes = kVolumeSizeMin / kBytesPerInodeMin;
    most.soft_size_bytes = kVolumeSizeMin - 1;
    most.soft_inodes = most.inodes - 1;
    most.io = {kIoLimitMax, kIoLimitMax, kIoLimitMax, kIoLimitMax};
    check_good(most);
    auto least = good_create();
    least.soft_size_bytes = 1;
    least.soft_inodes = kVolumeSizeMin / kBytesPerInodeMin; // of a number of inodes that nobody asked for
    least.io = {kIoBytesMin, kIoBytesMin, kIoOperationsMin, kIoOperationsMin};
    check_good(least);
    auto memory = good_create();
    memory.type = VolumeType::Memory;
    check_good(memory);
    check_bad<C>("a soft limit that is not below", most, [](C& r) { ++r.soft_size_bytes; });
    check_bad<C>("a soft limit of inodes that is not below", most, [](C& r) { ++r.soft_inodes; });
    check_bad<C>("more soft inodes than there is room for", least, [](C& r) { ++r.soft_inodes; });
    check_bad<C>("too many bytes read", most, [](C& r) { ++r.io.read_bytes; });
    check_bad<C>("too many bytes written", most, [](C& r) { ++r.io.write_bytes; });
    check_bad<C>("too many reads", most, [](C& r) { ++r.io.read_operations; });
    check_bad<C>("too many writes", most, [](C& r) { ++r.io.write_operations; });
    check_bad<C>("too few bytes read", least, [](C& r) { --r.io.read_bytes; });
    check_bad<C>("too few bytes written", least, [](C& r) { --r.io.write_bytes; });
    check_bad<C>("one read a second", most, [](C& r) { r.io.read_operations = 1; });
    check_bad<C>("I/O of memory", memory, [](C& r) { r.io.read_operations = 2; });
    using R = ResizeVolume;
    auto largest = good_resize();
    largest.size_bytes = kVolumeSizeMax;
    largest.inodes = kVolumeSizeMax / kBytesPerInodeMin;
    largest.soft_size_bytes = kVolumeSizeMax - 1;
    largest.soft_inodes = largest.inodes - 1;
    check_good(largest);
    auto only_soft = good_with_id<R>(7);
    only_soft.soft_size_bytes = only_soft.soft_inodes = kNoSoftLimit;
    check_good(only_soft);
    only_soft.soft_size_bytes = 0;
    check_good(only_soft);
    auto only_inodes = good_with_id<R>(7);
    only_inodes.inodes = 1;
    check_good(only_inodes);
    check_bad<R>("no id", good_resize(), [](R& r) { r.id = {}; });
    check_bad<R>("nothing", good_resize(), [](R& r) { r.size_bytes = 0; });
    check_bad<R>("too small", good_resize(), [](R& r) { --r.size_bytes; });
    check_bad<R>("too large", largest, [](R& r) { ++r.size_bytes; });
    check_bad<R>("too many inodes", largest, [](R& r) { ++r.inodes; });
    check_bad<R>("a soft limit that is not below", largest, [](R& r) { ++r.soft_size_bytes; });
    check_bad<R>("a soft limit of inodes that is not below", largest, [](R& r) { ++r.soft_inodes; });
    check_bad<R>("almost none", largest, [](R& r) { r.soft_size_bytes = kNoSoftLimit - 1; });
    using M = MeasureVolume;
    auto by_admin = good_with_id<M>(7);
    by_admin.authority = Authority::Admin;
    check_good(by_admin);
    check_bad<M>("no id", by_admin, [](M& r) { r.id = {}; });
    check_bad<M>("no such authority", by_admin, [](M& r) { r.authority = static_cast<Authority>(2); });
    check_bad<M>("zero is not zero", by_admin, [](M& r) { r.zero = 1; });
    using H = HostReport;
    auto report = with_header<H>(7);
    report.authority = Authority::Admin;
    check_good(report);
    check_bad<H>("no such authority", report, [](H& r) { r.authority = static_cast<Authority>(2); });
    check_bad<H>("zero is not zero", report, [](H& r) { r.zero = 1; });
}

TEST_CASE("limits of a job decode up to their bounds and not beyond") {
    using S = StartJob;
    auto most = good_start();
    most.memory_bytes = most.swap_bytes = kVolumeSizeMax;
    most.processes = kProcessesMax;
    most.cpu_milli = kCpuMilliMax;
    most.io = {kIoLimitMax, kIoLimitMax, kIoLimitMax, kIoLimitMax};
    check_good(most);
    auto least = good_start();
    least.memory_bytes = kMemoryMin;
    least.processes = kProcessesMin;
    least.cpu_milli = kCpuMilliMin;
    least.io = {kIoBytesMin, kIoBytesMin, kIoOperationsMin, kIoOperationsMin};
    check_good(least);
    auto only_swap = good_start();
    only_swap.swap_bytes = 1;
    check_good(only_swap);
    check_bad<S>("too much memory", most, [](S& r) { ++r.memory_bytes; });
    check_bad<S>("too much swap", most, [](S& r) { ++r.swap_bytes; });
    check_bad<S>("too many processes", most, [](S& r) { ++r.processes; });
    check_bad<S>("too many CPUs", most, [](S& r) { ++r.cpu_milli; });
    check_bad<S>("too many bytes written", most, [](S& r) { ++r.io.write_bytes; });
    check_bad<S>("too many writes", most, [](S& r) { ++r.io.write_operations; });
    check_bad<S>("too little memory", least, [](S& r) { --r.memory_bytes; });
    check_bad<S>("too few processes", least, [](S& r) { --r.processes; });
    check_bad<S>("too little of a CPU", least, [](S& r) { --r.cpu_milli; });
    check_bad<S>("too few bytes read", least, [](S& r) { --r.io.read_bytes; });
}

TEST_CASE("case_20: random bytes decode to nothing, or to a request whose every field is meaningful") {
    std::mt19937 random(20260101); // a fixed seed: the same bytes each time
    std::vector<std::byte> bytes(kRequestSizeMax);
    std::size_t decoded_count = 0;
    for (int round = 0; round < 20'000; ++round) {
        const auto& row = kRequests[random() % kRequests.size()];
        const auto template_request = good_create();
        std::memcpy(bytes.data(), &template_request, sizeof template_request);
        RequestHeader header{kVersion, row.type, 1, row.asker == Asker::Housekeeping ? 0U : 1U};
        std::memcpy(bytes.data(), &header, sizeof header);
        const std::size_t changes = random() % 8;
        for (std::size_t i = 0; i < changes; ++i) {
            // More often near the front: what is not labels is short, and would hardly be met
            const std::size_t reach = 1 + random() % (row.size > sizeof header ? row.size - sizeof header : 1);
            bytes[sizeof header + random() % reach] = static_cast<std::byte>(random());
        }
        const auto result = decode(std::span(bytes).first(row.size));
        if (result) {
            ++decoded_count;
            if (const auto* create = std::get_if<CreateVolume>(&*result)) {
                CHECK(is_valid_name(create->name.view()));
                CHECK(create->size_bytes >= kVolumeSizeMin);
                CHECK(create->soft_size_bytes < create->size_bytes);
                CHECK((create->type == VolumeType::Filesystem || create->io == IoLimits{}));
            } else if (const auto* resize = std::get_if<ResizeVolume>(&*result)) {
                CHECK_FALSE(resize->id.is_none());
                CHECK((resize->size_bytes == 0 || resize->size_bytes >= kVolumeSizeMin));
                CHECK((resize->soft_size_bytes == kNoSoftLimit || resize->size_bytes == 0 || resize->soft_size_bytes < resize->size_bytes));
            } else if (const auto* measure = std::get_if<MeasureVolume>(&*result)) {
                CHECK_FALSE(measure->id.is_none());
            }
        }
    }
    CHECK(decoded_count > 0);
}
