// Records and labels as a disk gives them back. The input says which, how it is damaged, and then has its bytes, which are sealed
// with their checksum as whoever can write to the store could seal them.
#include <unistd.h>

#include <filesystem>
#include <string>

#include <fcntl.h>

#include "broker-root/broker/registry.h"
#include "broker-root/kernel/record_io.h"
#include "broker-root/worker/labels.h"
#include "broker-root/worker/record.h"
#include "broker-root/worker/volume_files.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/meaning.h"
#include "tests/fuzz/mutate.h"

using namespace joblet;
using joblet::fuzz::require;

namespace {

enum class Kind : std::uint8_t { Volume, Job, Labels };
enum class Damage : std::uint8_t { None, NotSealed, OneBit, Shorter, Longer, OtherId };

struct Plan {
    Kind kind;
    Damage damage;
    std::uint16_t where;
};

// A directory of this process's own, gone with it.
class Place {
  public:
    Place() {
        std::string pattern = (std::filesystem::temp_directory_path() / "joblet-fuzz-XXXXXX").string();
        require(::mkdtemp(pattern.data()) != nullptr, "there is room for a directory");
        path_ = pattern;
        directory_ = Fd(::open(path_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    }
    ~Place() {
        std::error_code gone;
        std::filesystem::remove_all(path_, gone);
    }
    Place(const Place&) = delete;
    Place& operator=(const Place&) = delete;
    [[nodiscard]] int get() const {
        return directory_.get();
    }

  private:
    std::string path_;
    Fd directory_;
};

const Place& place() {
    static const Place one;
    return one;
}

void check_meaning(const worker::VolumeRecord& r) {
    require(!r.id.is_none() && fuzz::is_name(r.name), "a record has an id and a name");
    require(fuzz::is_stored(r.type, r.backend), "a record has a type, and a backend that holds it");
    require(fuzz::is_volume_size(r.size_bytes) && r.inodes <= r.size_bytes / 1024, "a record's sizes are those of a volume");
    require(r.backend == protocol::Backend::Image || r.image_bytes == 0, "only an image has a length");
    const bool has_quota = r.backend == protocol::Backend::ProjectQuota;
    require(has_quota ? r.project_id >> 24U == 0x4A : r.project_id == 0, "a project id is one of ours");
    require(has_quota || (r.soft_size_bytes == 0 && r.soft_inodes == 0), "soft limits are a project quota's");
    require(fuzz::is_io(r.io), "limits of I/O are what can be asked for");
    require(r.created_ns >= 0 && r.last_used_ns >= 0 && r.trashed_until_ns >= 0, "no time is before 1970");
    require(fuzz::is_zero_from(r.reserved, 0) && r.zero == 0, "what is not used is zero");

    // What the API is told of it must decode there: otherwise the API ends, again and again
    for (const bool trashed : {false, true}) {
        broker::Volume volume;
        volume.record = r;
        volume.trashed = trashed && r.trashed_until_ns != 0;
        protocol::VolumeChanged news;
        news.volume = broker::entry_of(volume);
        require(protocol::decode_message(std::as_bytes(std::span(&news, 1)), 0).has_value(), "what is told of a record decodes");
    }
    // And a worker must take it back
    worker::UpdateRecord order;
    order.header.type = worker::UpdateRecord::kType;
    order.record = r;
    require(worker::decode_order(std::as_bytes(std::span(&order, 1))).has_value(), "an order with a record decodes");
}

void check_meaning(const worker::JobRecord& r) {
    require(!r.id.is_none() && r.kind <= 1 && r.volume_count <= protocol::kJobVolumesMax, "a record has an id, a kind and its volumes");
    for (std::size_t i = 0; i < r.volumes.size(); ++i) {
        const bool used = i < r.volume_count;
        require(r.volumes[i].is_none() != used && static_cast<std::uint32_t>(r.access[i]) <= (used ? 1U : 0U), "used places have a volume");
        require(used ? fuzz::is_target_or_none(r.targets[i]) : r.targets[i] == TargetText(), "used places have a target, or none");
        for (std::size_t j = 0; used && j < i; ++j) {
            require(r.volumes[i] != r.volumes[j], "no volume is there twice");
        }
    }
    protocol::JobChanged news;
    news.job.id = r.id;
    news.job.started_ns = r.started_ns;
    news.job.owner_uid = r.owner_uid;
    news.job.state = protocol::JobState::Running;
    news.job.volume_count = r.volume_count;
    news.job.volumes = r.volumes;
    news.job.limits = r.limits;
    require(protocol::decode_message(std::as_bytes(std::span(&news, 1)), 0).has_value(), "what is told of a job decodes");
}

// As `damage` says, but for None. False: there was nothing to damage.
bool spoil(std::vector<std::byte>& bytes, const Plan& plan) {
    switch (plan.damage) {
    case Damage::OneBit:
        bytes[plan.where / 8 % bytes.size()] ^= static_cast<std::byte>(1U << (plan.where % 8));
        return true;
    case Damage::Shorter:
        bytes.pop_back();
        return true;
    case Damage::Longer:
        bytes.push_back({});
        return true;
    default:
        return false;
    }
}

template <class Record, class Read> void check_record(const Plan& plan, fuzz::Input input, std::uint32_t version, auto magic, Read read) {
    auto record = input.take<Record>();
    if (plan.damage != Damage::NotSealed) {
        if (plan.where % 16 != 0) {
            record.magic = magic;
            record.version = version;
            record.size = sizeof record;
        }
        worker::seal(record);
    }
    const auto view = std::as_bytes(std::span(&record, 1));
    std::vector<std::byte> bytes(view.begin(), view.end());
    auto id = record.id;
    if (plan.damage == Damage::OtherId) {
        id.bytes[plan.where % id.bytes.size()] ^= 1;
    }
    const bool spoilt = spoil(bytes, plan) || plan.damage == Damage::OtherId;
    const auto got = read(bytes, id);
    if (!got) {
        return;
    }
    require(!spoilt, "a damaged record, or one of something else, is not read");
    require(fuzz::same_bytes(*got, bytes), "what is read is what was there");
    auto again = *got;
    worker::seal(again);
    require(fuzz::same_bytes(again, bytes), "what is read has its checksum");
    check_meaning(*got);
    if constexpr (std::is_same_v<Record, worker::VolumeRecord>) {
        require(worker::write_record(place().get(), again, kernel::Durability::Lazy).has_value(), "a record can be written");
        const auto found = worker::record_in(place().get(), id);
        require(found && fuzz::same_bytes(*found, bytes), "a record that is written is found again");
        auto other = id;
        other.bytes[0] ^= 1;
        require(!worker::record_in(place().get(), other), "a record is found for its own volume only");
    }
}

void check_labels(const Plan& plan, fuzz::Input input) {
    const auto id = input.take<VolumeId>();
    worker::SizedLabels labels;
    const auto blob = input.take_bytes(labels.bytes.size());
    std::ranges::copy(blob, labels.bytes.begin());
    labels.size = static_cast<std::uint32_t>(blob.size());
    auto bytes = worker::sealed_labels(id, labels);
    auto reader = id;
    if (plan.damage == Damage::OtherId) {
        reader.bytes[plan.where % reader.bytes.size()] ^= 1;
    }
    const bool spoilt = spoil(bytes, plan) || plan.damage == Damage::OtherId;
    const auto got = worker::read_labels(bytes, reader);
    require(got.has_value() == !spoilt, "labels are read as they were sealed, and not otherwise");
    require(spoilt || (got->size == labels.size && got->bytes == labels.bytes), "labels come back");
    if (const auto loose = worker::read_labels(std::as_bytes(blob), id)) { // whatever they are
        require(loose->size + worker::kLabelsChecksum == blob.size(), "labels are all but the checksum");
    }
}

} // namespace

extern "C" int LLVMFuzzerInitialize(int* /*argc*/, char*** /*argv*/) {
    require(worker::start_checksums(), "libsodium starts");
    return 0;
}

extern "C" std::size_t LLVMFuzzerCustomMutator(std::uint8_t* data, std::size_t size, std::size_t max_size, unsigned seed) {
    return fuzz::mutate_in_place(data, size, max_size, seed, 4);
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    fuzz::Input input(data, size);
    Plan plan{};
    plan.kind = static_cast<Kind>(input.take<std::uint8_t>() % 3);
    const auto damage = input.take<std::uint8_t>();
    plan.damage = damage < 128 ? Damage::None : static_cast<Damage>(damage % 6); // mostly none: then there is something to look at
    plan.where = input.take<std::uint16_t>();
    switch (plan.kind) {
    case Kind::Volume:
        check_record<worker::VolumeRecord>(plan, input, worker::kVolumeRecordVersion, worker::kVolumeRecordMagic,
                                           worker::read_volume_record);
        break;
    case Kind::Job:
        check_record<worker::JobRecord>(plan, input, worker::kJobRecordVersion, worker::kJobRecordMagic, worker::read_job_record);
        break;
    case Kind::Labels:
        check_labels(plan, input);
        break;
    }
    return 0;
}
