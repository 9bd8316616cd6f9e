// The boundary's decode: what is exactly a request decodes, and nothing else does.
#include <doctest/doctest.h>

#include <cstring>
#include <functional>
#include <random>
#include <set>
#include <span>
#include <string_view>
#include <vector>

#include "shared/protocol.h"

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

template <class R> auto decoded(const R& request, std::size_t descriptors) {
    return decode(std::as_bytes(std::span(&request, 1)), descriptors);
}
template <class R> void check_good(const R& request) {
    const auto& row = row_of(R::kType);
    CAPTURE(row.name);
    const auto result = decoded(request, row.descriptor_count);
    REQUIRE(result.has_value());
    REQUIRE(std::holds_alternative<R>(*result));
    const bool same = std::memcmp(&std::get<R>(*result), &request, sizeof request) == 0;
    CHECK(same);
    CHECK(header_of(*result).sequence == 1);
    // one descriptor more or less, one byte more or less
    CHECK(decoded(request, row.descriptor_count + 1U).error() == DecodeError::Descriptors);
    if (row.descriptor_count > 0) {
        CHECK(decoded(request, row.descriptor_count - 1U).error() == DecodeError::Descriptors);
    }
    const auto bytes = std::as_bytes(std::span(&request, 1));
    std::vector<std::byte> longer(bytes.begin(), bytes.end());
    longer.push_back(std::byte{0});
    CHECK(decode(longer, row.descriptor_count).error() == DecodeError::Size);
    for (std::size_t size = 0; size < bytes.size(); ++size) {
        REQUIRE_FALSE(decode(bytes.first(size), row.descriptor_count).has_value());
    }
    // nobody to ask, or somebody where nobody may be named
    auto other = request;
    other.header.connection = request.header.connection == 0 ? 7 : 0;
    if (row.asker != Asker::Either) {
        CHECK(decoded(other, row.descriptor_count).error() == DecodeError::Field);
    }
    other = request;
    other.header.sequence = 0;
    CHECK(decoded(other, row.descriptor_count).error() == DecodeError::Field);
    other = request;
    other.header.version = 2;
    CHECK(decoded(other, row.descriptor_count).error() == DecodeError::Version);
}
template <class R> void check_bad(const char* what, R request, const std::function<void(R&)>& spoil) {
    CAPTURE(what);
    spoil(request);
    const auto result = decoded(request, row_of(R::kType).descriptor_count);
    REQUIRE_FALSE(result.has_value());
    CHECK(result.error() == DecodeError::Field);
}

} // namespace

TEST_CASE("every request of the table decodes to itself, at its exact size and number of descriptors") {
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
}

TEST_CASE("the table has each type once and what is not in it does not decode") {
    std::set<std::uint32_t> types;
    for (const auto& row : kRequests) {
        CHECK(types.insert(static_cast<std::uint32_t>(row.type)).second);
        CHECK(row.descriptor_count <= kRequestDescriptorsMax);
    }
    for (const std::uint32_t type : {0U, static_cast<std::uint32_t>(kRequests.size()) + 1, 0xffffffffU}) {
        auto request = with_header<CloseConnection>(7);
        request.header.type = static_cast<RequestType>(type);
        CHECK(decoded(request, 0).error() == DecodeError::Type);
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
    every_flag.flags = kDeleteForce | kDeleteNow;
    check_good(every_flag);
    check_bad<D>("no such flag", good_with_id<D>(7), [](D& r) { r.flags = 4; });
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

TEST_CASE("random bytes decode to nothing, or to a request whose every field is meaningful") {
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
            bytes[sizeof header + random() % (row.size > sizeof header ? row.size - sizeof header : 1)] = static_cast<std::byte>(random());
        }
        const auto result = decode(std::span(bytes).first(row.size), row.descriptor_count);
        if (result) {
            ++decoded_count;
            if (const auto* create = std::get_if<CreateVolume>(&*result)) {
                CHECK(is_valid_name(create->name.view()));
                CHECK(create->size_bytes >= kVolumeSizeMin);
            }
        }
    }
    CHECK(decoded_count > 0);
}

TEST_CASE("messages of the broker decode to themselves and not with a field spoilt") {
    VolumeChanged changed;
    changed.volume.id = make_random_id<VolumeId>();
    changed.volume.name = NameText("data");
    changed.volume.type = VolumeType::Memory;
    changed.volume.backend = Backend::Tmpfs;
    changed.volume.status = VolumeStatus::Available;
    const auto decode_one = [](const auto& message, std::size_t descriptors = 0) {
        return decode_message(std::as_bytes(std::span(&message, 1)), descriptors);
    };
    REQUIRE(decode_one(changed).has_value());
    CHECK(decode_one(changed, 1).error() == DecodeError::Descriptors);
    changed.volume.backend = Backend::Image;
    CHECK(decode_one(changed).error() == DecodeError::Field);

    changed.volume.backend = Backend::Tmpfs;
    changed.volume.status = VolumeStatus::Trashed; // always until some time
    CHECK(decode_one(changed).error() == DecodeError::Field);
    changed.volume.trashed_until_ns = 1;
    CHECK(decode_one(changed).has_value());
    changed.volume.status = VolumeStatus::Available;
    CHECK(decode_one(changed).error() == DecodeError::Field);
    changed.volume.trashed_until_ns = 0;
    changed.volume.flags = kVolumeProtected << 1U;
    CHECK(decode_one(changed).error() == DecodeError::Field);

    Connection connection;
    connection.number = 5;
    CHECK(decode_one(connection).error() == DecodeError::Descriptors);
    CHECK(decode_one(connection, 1).has_value());
    connection.admin = 2;
    CHECK(decode_one(connection, 1).error() == DecodeError::Field);

    VolumePage page;
    page.reply.request = RequestType::ListVolumes;
    page.reply.sequence = 3;
    REQUIRE(decode_one(page).has_value());
    changed.volume.flags = kVolumeProtected;
    changed.volume.labels_size = 3;
    page.volumes[0] = changed.volume;
    page.volumes[1] = changed.volume;
    page.reply.count = 2;
    page.labels[5] = 'x'; // the last of both volumes' bytes
    CHECK(decode_one(page).has_value());
    page.labels[6] = 'x';
    CHECK(decode_one(page).error() == DecodeError::Field);
    page.labels[6] = 0;
    page.reply.count = kPageEntries + 1;
    CHECK(decode_one(page).error() == DecodeError::Field);

    // a refusal is bare, whatever was asked
    Reply refusal;
    refusal.request = RequestType::ListVolumes;
    refusal.sequence = 3;
    refusal.code = ErrorCode::Unavailable;
    CHECK(decode_one(refusal).has_value());
    refusal.code = ErrorCode::Ok;
    CHECK(decode_one(refusal).error() == DecodeError::Size);

    JobChanged job;
    job.job.id = make_random_id<JobId>();
    job.job.state = JobState::Running;
    REQUIRE(decode_one(job).has_value());
    job.job.state = JobState::Ended;
    CHECK(decode_one(job).error() == DecodeError::Field); // without an exit record
}
