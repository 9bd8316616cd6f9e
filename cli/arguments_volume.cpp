#include "cli/arguments_volume.h"

#include <algorithm>
#include <array>
#include <string_view>
#include <utility>

#include "cli/label_words.h"
#include "shared/name.h"

namespace joblet::cli {
namespace {

constexpr std::array kTypes = {
    Word{"filesystem", VolumeKind::Filesystem},
    Word{"memory", VolumeKind::Memory},
};
constexpr std::array kBackends = {
    Word{"auto", VolumeBackend::Auto},   Word{"image", VolumeBackend::Image},
    Word{"tmpfs", VolumeBackend::Tmpfs}, Word{"project-quota", VolumeBackend::ProjectQuota},
    Word{"btrfs", VolumeBackend::Btrfs},
};
constexpr std::array kStates = {
    Word{"available", VolumeState::Available},
    Word{"in_use", VolumeState::InUse},
    Word{"trashed", VolumeState::Trashed},
    Word{"quarantined", VolumeState::Quarantined},
};
constexpr std::array kOrders = {
    Word{"name", VolumeOrder::Name},
    Word{"created", VolumeOrder::Created},
    Word{"size", VolumeOrder::Size},
    Word{"last-used", VolumeOrder::LastUsed},
};

// A daemon would refuse it, too; but this is wrong whatever host it is.
void check_backend(const VolumeCreate& create, std::string_view backend) {
    if (create.backend == VolumeBackend::Auto) {
        return;
    }
    const auto needed = create.backend == VolumeBackend::Tmpfs ? VolumeKind::Memory : VolumeKind::Filesystem;
    if (create.kind != needed) {
        const std::string_view type = needed == VolumeKind::Memory ? "memory" : "filesystem";
        throw Refused{invalid("the backend " + in_quotes(backend) + " cannot hold a volume of type " +
                                  (needed == VolumeKind::Memory ? "filesystem" : "memory"),
                              "leave --backend out, or ask for --type=" + std::string(type))};
    }
}

// So is this.
void check_limits(const VolumeCreate& create) {
    const bool is_soft = create.soft_size_bytes != 0 || create.soft_inodes != 0;
    if (create.kind == VolumeKind::Memory && (is_soft || create.io != protocol::IoLimits{})) {
        throw Refused{invalid(std::string(is_soft ? "a soft limit" : "a limit of reading and writing") + " cannot be held of memory",
                              is_soft ? "leave --soft-size and --soft-inodes out, or ask for --type=filesystem"
                                      : "leave --read-bps, --write-bps, --read-iops and --write-iops out, or ask for --type=filesystem")};
    }
    const bool can_be_soft = create.backend == VolumeBackend::Auto || create.backend == VolumeBackend::ProjectQuota;
    if (is_soft && !can_be_soft) {
        const auto backend = std::ranges::find(kBackends, create.backend, &Word<VolumeBackend>::value)->word;
        throw Refused{invalid("the backend " + in_quotes(backend) + " cannot hold a soft limit",
                              "leave --soft-size and --soft-inodes out, or ask for --backend=project-quota")};
    }
}

} // namespace

VolumeGrammar::VolumeGrammar(CLI::App& rnx, CommonOptions& options)
    : volume_(rnx.add_subcommand("volume", "make, show, change and remove volumes")) {
    set_up(*volume_, options, "rnx volume create|list|inspect|usage|remove|protect|unprotect|label|rename|resize|restore|attach|detach …",
           "Examples:\n"
           "  rnx volume create data --size=1GB\n"
           "  rnx volume list --help");
    volume_->require_subcommand(1);
    add_create(options);
    add_list(options);
    add_for_several(options);
    add_for_one(options);
    add_for_jobs(options);
}

Command VolumeGrammar::take() const {
    const auto entry = std::ranges::find_if(entries_, [this](const Entry& candidate) { return volume_->got_subcommand(candidate.app); });
    return (this->*entry->take)();
}

CLI::App& VolumeGrammar::add(const Description& description, CommonOptions& options, Take taker) {
    auto& command = *volume_->add_subcommand(description.name, description.what);
    set_up(command, options, "rnx volume " + description.usage, description.examples);
    entries_.push_back({&command, taker});
    return command;
}

void VolumeGrammar::add_create(CommonOptions& options) {
    auto& create = add({"create", "make a volume; asking again for the same one is no error",
                        "create NAME --size=SIZE [--type=filesystem|memory] [--label KEY=VALUE]… [OPTION]…",
                        "Every limit is held by the kernel, or the volume is not made.\n"
                        "\n"
                        "Examples:\n"
                        "  rnx volume create data --size=1GB --label team=blue\n"
                        "  rnx volume create cache --size=100MB --type=memory\n"
                        "  rnx volume create logs --size=10GB --soft-size=8GB --write-bps=20MB"},
                       options, &VolumeGrammar::take_create);
    create.add_option("NAME", name_, std::string(kNameForms))->type_name("")->required();
    capacity_.add_for_create(create);
    add_value(create, "--type", type_, "TYPE", "filesystem: stays until removed (default); memory: gone when its job ends");
    add_value(create, "--backend", backend_, "BACKEND",
              "what holds it: image, project-quota or btrfs (type filesystem), tmpfs (type memory), or auto: the best of this host "
              "(default)");
    io_.add_to(create, "for jobs that have it: ", "their volumes; rnx run may say otherwise");
    add_value(create, "--label", labels_, "KEY=VALUE", "a label; again for another one");
}

void VolumeGrammar::add_list(CommonOptions& options) {
    auto& list =
        add({"list", "show your volumes", "list [--filter KEY[=VALUE]]… [--trash] [--sort=ORDER] [--quiet] [--format=table|json|yaml]",
             "Examples:\n"
             "  rnx volume list --filter team=blue --sort=size --reverse\n"
             "  rnx volume list --trash"},
            options, &VolumeGrammar::take_list);
    list.alias("ls");
    add_value(list, "--filter", labels_, "KEY[=VALUE]", "only those with this label (with this value); again: and with that one");
    add_value(list, "--type", type_, "TYPE", "only filesystem or memory");
    add_value(list, "--status", status_, "STATUS", "only available, in_use, trashed or quarantined (default: all but trashed)");
    list.add_flag("--trash", trash_, "those in the trash, and until when they can be restored; the same as --status=trashed");
    add_value(list, "--sort", sort_, "ORDER", "by name (default), created, size or last-used");
    list.add_flag("--reverse", reverse_, "in the opposite order");
    list.add_flag("-q,--quiet", quiet_, "only names; only ids where a name can occur twice (--all-users, --trash)");
    scope_.add_to(list, "volumes");
}

void VolumeGrammar::add_for_several(CommonOptions& options) {
    auto& inspect = add({"inspect", "show everything about volumes", "inspect NAME…",
                         "Examples:\n"
                         "  rnx volume inspect data\n"
                         "  rnx volume inspect data cache --format=json"},
                        options, &VolumeGrammar::take_inspect);
    auto& usage = add({"usage", "show how full volumes are, as the kernel counts", "usage [NAME…]",
                       "Examples:\n"
                       "  rnx volume usage\n"
                       "  rnx volume usage data --format=json"},
                      options, &VolumeGrammar::take_usage);
    usage.add_option("NAME", names_, "names or ids of volumes (default: all of yours)")->type_name("");
    scope_.add_to(usage, "volumes");
    auto& remove = add({"remove", "remove volumes and what is in them", "remove NAME… [--force] [--now [--wait]]",
                        "Examples:\n"
                        "  rnx volume remove data cache\n"
                        "  rnx volume remove data --now --wait"},
                       options, &VolumeGrammar::take_remove);
    remove.alias("rm");
    remove.add_flag("--force", force_, "also from running jobs, which keep the files that they have open");
    auto* now = remove.add_flag("--now", now_, "do not keep it in the trash: it cannot be restored");
    auto* wait = remove.add_flag("--wait", wait_, "with --now: until its contents are gone and their space is free");
    wait->needs(now);
    auto& protect = add({"protect", "refuse to remove volumes, until unprotected", "protect NAME…", "Example:\n  rnx volume protect data"},
                        options, &VolumeGrammar::take_protect);
    auto& unprotect =
        add({"unprotect", "let protected volumes be removed again", "unprotect NAME…", "Example:\n  rnx volume unprotect data"}, options,
            &VolumeGrammar::take_unprotect);
    for (auto* command : {&inspect, &remove, &protect, &unprotect}) {
        command->add_option("NAME", names_, "names or ids of volumes")->type_name("")->required();
        scope_.add_to(*command, "volumes");
    }
}

void VolumeGrammar::add_for_one(CommonOptions& options) {
    auto& label = add({"label", "set and remove labels of a volume", "label NAME KEY=VALUE… KEY-…",
                       "Examples:\n"
                       "  rnx volume label data team=blue tier=\n"
                       "  rnx volume label data team-"},
                      options, &VolumeGrammar::take_label);
    add_name(label);
    label.add_option("LABEL", labels_, "KEY=VALUE sets a label, KEY- removes it")->type_name("")->required();

    auto& rename = add({"rename", "give a volume another name", "rename NAME NEW", "Example:\n  rnx volume rename data data-2026"}, options,
                       &VolumeGrammar::take_rename);
    add_name(rename);
    rename.add_option("NEW", new_name_, std::string(kNameForms))->type_name("")->required();

    auto& resize = add({"resize", "change the limits of a volume, while jobs have it if its backend can",
                        "resize NAME [--size=SIZE] [--inodes=COUNT] [--soft-size=SIZE|none] [--soft-inodes=COUNT|none]",
                        "What is not given stays as it is. A volume does not become smaller than what is in it, and one in an\n"
                        "image only while no job has it.\n"
                        "\n"
                        "Examples:\n"
                        "  rnx volume resize data --size=2GB\n"
                        "  rnx volume resize logs --soft-size=none"},
                       options, &VolumeGrammar::take_resize);
    add_name(resize);
    capacity_.add_for_resize(resize);

    auto& restore = add({"restore", "bring a removed volume back from the trash", "restore NAME [--as NEW]",
                         "Examples:\n"
                         "  rnx volume restore data\n"
                         "  rnx volume restore data --as data-old"},
                        options, &VolumeGrammar::take_restore);
    add_name(restore);
    add_value(restore, "--as", new_name_, "NEW", "its name from now on, if its own is taken");
}

void VolumeGrammar::add_for_jobs(CommonOptions& options) {
    auto& attach = add({"attach", "give a volume to a running job, at /volumes/NAME", "attach NAME JOB [--read-only]",
                        "Examples:\n"
                        "  rnx volume attach data train\n"
                        "  rnx volume attach data 06365ce2f601 --read-only"},
                       options, &VolumeGrammar::take_attach);
    attach.add_flag("--read-only", read_only_, "the job may not write to it");
    auto& detach = add({"detach", "take a volume from a running job, which keeps the files that it has open", "detach NAME JOB",
                        "Example:\n  rnx volume detach data train"},
                       options, &VolumeGrammar::take_detach);
    for (auto* command : {&attach, &detach}) {
        add_name(*command);
        command->add_option("JOB", job_, "name or id of a job")->type_name("")->required();
    }
}

void VolumeGrammar::add_name(CLI::App& command) {
    command.add_option("NAME", name_, "name or id of a volume")->type_name("")->required();
}

Command VolumeGrammar::take_create() const {
    check_name("volume", name_);
    VolumeCreate create{.name = name_,
                        .kind = choose(kTypes, type_, "volume type", "types", VolumeKind::Filesystem),
                        .backend = choose(kBackends, backend_, "backend", "backends", VolumeBackend::Auto),
                        .io = io_.take(),
                        .labels = take_labels(labels_)};
    capacity_.take(create);
    check_backend(create, backend_);
    check_limits(create);
    return create;
}

Command VolumeGrammar::take_list() const {
    VolumeList list{.labels = take_label_filters(labels_),
                    .kind = choose(kTypes, type_, "volume type", "types", VolumeKind::Any),
                    .state = choose(kStates, status_, "status", "statuses", trash_ ? VolumeState::Trashed : VolumeState::Any),
                    .scope = scope_.take(),
                    .order = choose(kOrders, sort_, "order", "orders", VolumeOrder::Name),
                    .descending = reverse_,
                    .quiet = quiet_};
    if (trash_ && list.state != VolumeState::Trashed) {
        throw Refused{invalid("--trash and --status=" + status_ + " contradict each other", "give one of them")};
    }
    return list;
}

Command VolumeGrammar::take_inspect() const {
    return VolumeInspect{take_names(), scope_.take()};
}

Command VolumeGrammar::take_label() const {
    return take_label_changes(take_name(), labels_);
}

Command VolumeGrammar::take_rename() const {
    check_name("volume", new_name_);
    return VolumeRename{take_name(), new_name_};
}

Command VolumeGrammar::take_resize() const {
    return capacity_.take_changes(take_name());
}

Command VolumeGrammar::take_usage() const {
    return VolumeUsage{take_names(), scope_.take()};
}

Command VolumeGrammar::take_remove() const {
    return VolumeRemove{take_names(), scope_.take(), force_, now_, wait_};
}

Command VolumeGrammar::take_restore() const {
    if (!new_name_.empty()) {
        check_name("volume", new_name_);
    }
    return VolumeRestore{take_name(), new_name_};
}

Command VolumeGrammar::take_protect() const {
    return VolumeProtect{take_names(), scope_.take(), true};
}

Command VolumeGrammar::take_unprotect() const {
    return VolumeProtect{take_names(), scope_.take(), false};
}

Command VolumeGrammar::take_attach() const {
    check_name("job", job_);
    return VolumeAttach{take_name(), job_, read_only_};
}

Command VolumeGrammar::take_detach() const {
    check_name("job", job_);
    return VolumeDetach{take_name(), job_};
}

const std::string& VolumeGrammar::take_name() const {
    check_name("volume", name_);
    return name_;
}

const std::vector<std::string>& VolumeGrammar::take_names() const {
    for (const auto& name : names_) {
        check_name("volume", name);
    }
    return names_;
}

} // namespace joblet::cli
