#include <algorithm>

#include "tests/boundary/attacker/edges.h"

namespace joblet::testing {

namespace {

using namespace protocol;

constexpr std::uint64_t kAll = ~std::uint64_t{0};

NameText full_name() {
    NameText text;
    text.data.fill('a'); // and no NUL at its end
    return text;
}
NameText name_with_rest() {
    NameText text("name");
    text.data.back() = 'x';
    return text;
}

template <class R> void names(EdgeList& out, const R& good, bool may_be_empty) {
    out.add("no name", may_be_empty, good, [](R& r) { r.name = {}; });
    out.add("the longest name", true, good, [](R& r) { r.name = NameText(std::string(kNameMax, 'n')); });
    out.add("a name without an end", false, good, [](R& r) { r.name = full_name(); });
    out.add("a name with something after its end", false, good, [](R& r) { r.name = name_with_rest(); });
    out.add("every kind of character", true, good, [](R& r) { r.name = NameText("Aa.b_c-9"); });
    for (const char* const bad : {".a", "-a", "_a", "a/b", "a b", "..", "/", "a\n", "\x80", "a:b", "a\\"}) {
        out.add("a name that is none", false, good, [bad](R& r) { r.name = NameText(bad); });
    }
}
template <class R> void ids(EdgeList& out, const R& good) {
    out.add("no id", false, good, [](R& r) { r.id = {}; });
    out.add("an id of nothing", true, good, [](R& r) { r.id.bytes.fill(0xff); });
}
template <class R> void authorities(EdgeList& out, const R& good) {
    out.add("as an admin who is none", true, good, [](R& r) { r.authority = Authority::Admin; });
    for (const std::uint32_t value : {2U, 0x80000000U, ~0U}) {
        out.add("an authority that is none", false, good, [value](R& r) { r.authority = static_cast<Authority>(value); });
    }
}
template <class R> void labels(EdgeList& out, const R& good) {
    out.add("all the labels there can be", true, good, [](R& r) {
        r.labels.fill(0xff);
        r.labels_size = kLabelsMax;
    });
    for (const std::uint32_t size : {static_cast<std::uint32_t>(kLabelsMax) + 1, 0x80000000U, ~0U}) {
        out.add("more labels than fit", false, good, [size](R& r) { r.labels_size = size; });
    }
    out.add("a label beyond the last", false, good, [](R& r) {
        r.labels_size = 10;
        r.labels[10] = 1;
    });
    out.add("a label at the very end", false, good, [](R& r) { r.labels.back() = 1; });
    out.add("what must be zero", false, good, [](R& r) { r.zero = 1; });
}

void creation(EdgeList& out, const Scene& scene) {
    const auto memory = from(scene.alice, volume_request("edge", VolumeType::Memory));
    const auto disk = from(scene.alice, volume_request("disk-edge", VolumeType::Filesystem));
    names(out, memory, false);
    labels(out, memory);
    for (const std::uint64_t size :
         {std::uint64_t{0}, std::uint64_t{1}, kVolumeSizeMin - 1, kVolumeSizeMax + 1, kAll, std::uint64_t{1} << 63U}) {
        out.add("a size that is none", false, memory, [size](CreateVolume& r) { r.size_bytes = size; });
    }
    for (const auto& good : {memory, disk}) {
        out.add("the smallest size", true, good, [](CreateVolume& r) { r.size_bytes = kVolumeSizeMin; });
        out.add("a size that is no whole page", true, good, [](CreateVolume& r) {
            r.name = NameText("odd");
            r.size_bytes = kVolumeSizeMin + 1;
        });
        out.add("the largest size", true, good, [](CreateVolume& r) {
            r.name = NameText("large");
            r.size_bytes = kVolumeSizeMax;
        });
        out.add("an inode", true, good, [](CreateVolume& r) {
            r.name = NameText("inode");
            r.inodes = 1;
        });
        out.add("all inodes", true, good, [](CreateVolume& r) {
            r.name = NameText("inodes");
            r.inodes = r.size_bytes / kBytesPerInodeMin;
        });
        out.add("an inode too many", false, good, [](CreateVolume& r) { r.inodes = r.size_bytes / kBytesPerInodeMin + 1; });
        out.add("every inode", false, good, [](CreateVolume& r) { r.inodes = kAll; });
        out.add("a soft limit just below", true, good, [](CreateVolume& r) {
            r.name = NameText("soft");
            r.soft_size_bytes = r.size_bytes - 1;
        });
        out.add("a soft limit that is the hard one", false, good, [](CreateVolume& r) { r.soft_size_bytes = r.size_bytes; });
        out.add("no soft limit, as ResizeVolume says it", false, good, [](CreateVolume& r) { r.soft_size_bytes = kNoSoftLimit; });
        out.add("soft inodes like the hard ones", false, good, [](CreateVolume& r) { r.inodes = r.soft_inodes = 10; });
        out.add("soft inodes alone", true, good, [](CreateVolume& r) {
            r.name = NameText("soft-inodes");
            r.soft_inodes = r.size_bytes / kBytesPerInodeMin;
        });
        out.add("too many soft inodes", false, good, [](CreateVolume& r) { r.soft_inodes = r.size_bytes / kBytesPerInodeMin + 1; });
    }
    for (const std::uint32_t type : {0U, 3U, ~0U}) {
        out.add("a type that is none", false, memory, [type](CreateVolume& r) { r.type = static_cast<VolumeType>(type); });
    }
    for (const std::uint32_t backend : {5U, ~0U}) {
        out.add("a backend that is none", false, memory, [backend](CreateVolume& r) { r.backend = static_cast<Backend>(backend); });
    }
    for (const Backend backend : {Backend::Image, Backend::ProjectQuota, Backend::Btrfs}) {
        out.add("memory on a disk", false, memory, [backend](CreateVolume& r) { r.backend = backend; });
        out.add("a backend of its own", true, disk, [backend](CreateVolume& r) {
            r.name = NameText(backend_name(backend));
            r.backend = backend;
        });
    }
    out.add("a disk in memory", false, disk, [](CreateVolume& r) { r.backend = Backend::Tmpfs; });
    out.add("tmpfs by name", true, memory, [](CreateVolume& r) {
        r.name = NameText("tmpfs");
        r.backend = Backend::Tmpfs;
    });
    out.add("I/O of memory", false, memory, [](CreateVolume& r) { r.io.read_bytes = kIoBytesMin; });
    out.add("I/O too little", false, disk, [](CreateVolume& r) { r.io.write_bytes = kIoBytesMin - 1; });
    out.add("I/O too much", false, disk, [](CreateVolume& r) { r.io.read_operations = kIoLimitMax + 1; });
    out.add("the least I/O and the most", true, disk, [](CreateVolume& r) {
        r.name = NameText("io");
        r.io = {kIoBytesMin, kIoLimitMax, kIoOperationsMin, kIoLimitMax};
    });
}

void changes(EdgeList& out, const Scene& scene) {
    const auto about = [&scene]<class R>(R request) {
        request.header.connection = scene.alice;
        request.id = scene.memory;
        return request;
    };
    const auto stat = [&] {
        StatVolume r;
        r.id = scene.memory;
        return r;
    }();
    ids(out, stat);
    out.add("in somebody's name", false, stat, [&](StatVolume& r) { r.header.connection = scene.alice; });
    out.add("after the last", true, ListVolumes{}, [](ListVolumes& r) { r.after.bytes.fill(0xff); });
    out.add("in somebody's name", false, ListVolumes{}, [&](ListVolumes& r) { r.header.connection = scene.alice; });

    const auto protect = about(ProtectVolume{});
    ids(out, protect);
    authorities(out, protect);
    out.add("on", true, protect, [](ProtectVolume& r) { r.is_protected = 1; });
    out.add("off", true, protect, [](ProtectVolume&) {});
    out.add("neither", false, protect, [](ProtectVolume& r) { r.is_protected = 2; });
    out.add("in nobody's name", false, protect, [](ProtectVolume& r) { r.header.connection = 0; });

    const auto label = about(LabelVolume{});
    ids(out, label);
    labels(out, label);
    auto rename = about(RenameVolume{});
    rename.name = NameText("renamed");
    ids(out, rename);
    names(out, rename, false);
    auto restore = about(RestoreVolume{});
    ids(out, restore);
    names(out, restore, true);

    const auto measure = about(MeasureVolume{});
    ids(out, measure);
    authorities(out, measure);
    out.add("what must be zero", false, measure, [](MeasureVolume& r) { r.zero = 1; });

    auto resize = about(ResizeVolume{});
    resize.size_bytes = kVolumeSizeMin * 2;
    ids(out, resize);
    out.add("nothing", false, resize, [](ResizeVolume& r) { r.size_bytes = 0; });
    out.add("below the smallest", false, resize, [](ResizeVolume& r) { r.size_bytes = kVolumeSizeMin - 1; });
    out.add("the largest", true, resize, [](ResizeVolume& r) { r.size_bytes = kVolumeSizeMax; });
    out.add("above the largest", false, resize, [](ResizeVolume& r) { r.size_bytes = kVolumeSizeMax + 1; });
    out.add("the smallest", true, resize, [](ResizeVolume& r) { r.size_bytes = kVolumeSizeMin; });
    out.add("the most inodes", true, resize, [](ResizeVolume& r) { r.inodes = kVolumeSizeMax / kBytesPerInodeMin; });
    out.add("more inodes", false, resize, [](ResizeVolume& r) { r.inodes = kVolumeSizeMax / kBytesPerInodeMin + 1; });
    out.add("no soft limits", true, resize, [](ResizeVolume& r) { r.soft_size_bytes = r.soft_inodes = kNoSoftLimit; });
    out.add("a soft limit that is the hard one", false, resize, [](ResizeVolume& r) { r.soft_size_bytes = r.size_bytes; });
    out.add("a soft limit that is almost none", false, resize, [](ResizeVolume& r) { r.soft_size_bytes = kNoSoftLimit - 1; });
    out.add("a disk that grows", true, resize, [&](ResizeVolume& r) { r.id = scene.disk; });

    const auto remove = about(DeleteVolume{});
    ids(out, remove);
    authorities(out, remove);
    for (const std::uint32_t flags : {kDeleteWait, kDeleteWait | kDeleteForce, 8U, ~0U}) {
        out.add("flags without a meaning", false, remove, [flags](DeleteVolume& r) { r.flags = flags; });
    }
    out.add("of a volume that a job has", true, remove, [&](DeleteVolume& r) { r.id = scene.held; });
    out.add("of somebody else's", true, remove, [&](DeleteVolume& r) { r.id = scene.of_bob; });
    out.add("of the victim's, with everything", true, remove, [&](DeleteVolume& r) {
        r.id = scene.of_victim;
        r.authority = Authority::Admin;
        r.flags = kDeleteForce | kDeleteNow | kDeleteWait;
    });
    out.add("with everything", true, remove, [](DeleteVolume& r) { r.flags = kDeleteForce | kDeleteNow | kDeleteWait; });

    const auto read = from(scene.alice, AdminRead{});
    out.add("of everybody", true, read, [](AdminRead& r) { r.everybody = 1; });
    out.add("as an admin", true, read, [&](AdminRead& r) {
        r.header.connection = scene.admin;
        r.everybody = 1;
    });
    out.add("neither", false, read, [](AdminRead& r) { r.everybody = 2; });
    out.add("of one and of everybody", false, read, [](AdminRead& r) { r.uid = r.everybody = 1; });
    out.add("of a volume and of everybody", false, read, [&](AdminRead& r) {
        r.id = scene.memory;
        r.everybody = 1;
    });
    out.add("of a volume and of one", false, read, [&](AdminRead& r) {
        r.id = scene.memory;
        r.uid = 1;
    });
    const auto report = from(scene.alice, HostReport{});
    authorities(out, report);
    out.add("what must be zero", false, report, [](HostReport& r) { r.zero = 1; });
}

} // namespace

std::vector<Edge> edges_of_volumes(const Scene& scene) {
    EdgeList out;
    creation(out, scene);
    changes(out, scene);
    return std::move(out.list);
}

} // namespace joblet::testing
