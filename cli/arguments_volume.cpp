#include "cli/arguments_volume.h"

#include <algorithm>
#include <array>
#include <string_view>
#include <utility>

#include "cli/label_words.h"
#include "shared/name.h"
#include "shared/size.h"

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

} // namespace

VolumeGrammar::VolumeGrammar(CLI::App& rnx, CommonOptions& options)
    : volume_(rnx.add_subcommand("volume", "make, show, change and remove volumes")) {
    set_up(*volume_, options, "rnx volume create|list|inspect|remove|protect|unprotect|label|rename|restore|attach|detach …",
           "Examples:\n"
           "  rnx volume create data --size=1GB\n"
           "  rnx volume list --help");
    volume_->require_subcommand(1);
    add_create(options);
    add_list(options);
    add_for_several(options);
    add_for_one(options);
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
                        "create NAME --size=SIZE [--type=filesystem|memory] [--label KEY=VALUE]…",
                        "Examples:\n"
                        "  rnx volume create data --size=1GB --label team=blue\n"
                        "  rnx volume create cache --size=100MB --type=memory"},
                       options, &VolumeGrammar::take_create);
    create.add_option("NAME", name_, std::string(kNameForms))->type_name("")->required();
    add_value(create, "--size", size_, "SIZE", "usable space: " + std::string(kSizeForms)).required();
    add_value(create, "--type", type_, "TYPE", "filesystem: stays until removed (default); memory: gone when its job ends");
    add_value(create, "--backend", backend_, "BACKEND",
              "what holds it: image, project-quota or btrfs (type filesystem), tmpfs (type memory), or auto: the best of this host "
              "(default)");
    add_value(create, "--inodes", inodes_, "COUNT", "how many files it can hold (default: as the backend does for this size)");
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

    auto& restore = add({"restore", "bring a removed volume back from the trash", "restore NAME [--as NEW]",
                         "Examples:\n"
                         "  rnx volume restore data\n"
                         "  rnx volume restore data --as data-old"},
                        options, &VolumeGrammar::take_restore);
    add_name(restore);
    add_value(restore, "--as", new_name_, "NEW", "its name from now on, if its own is taken");

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
                        .size_bytes = take_size("size", size_),
                        .kind = choose(kTypes, type_, "volume type", "types", VolumeKind::Filesystem),
                        .backend = choose(kBackends, backend_, "backend", "backends", VolumeBackend::Auto),
                        .inodes = 0,
                        .labels = take_labels(labels_)};
    check_backend(create, backend_);
    if (!inodes_.empty()) {
        create.inodes = parse_number<std::uint64_t>(inodes_).value_or(0);
        if (create.inodes == 0) {
            throw Refused{invalid("the number of inodes " + in_quotes(inodes_) + " is not valid",
                                  "it is a whole number above zero, for example 10000; leave --inodes out for the backend's default")};
        }
    }
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
