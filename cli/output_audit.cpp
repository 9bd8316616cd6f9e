#include "cli/output_audit.h"

#include <algorithm>
#include <array>

#include "cli/structured.h"
#include "cli/table.h"

namespace joblet::cli {
namespace {

// What is deeper is no record of ours, and showing it would use up the stack.
constexpr int kDepthMax = 8;

// Discarded if the line is no JSON, or too deep.
Json record_of(const std::string& line) {
    bool is_deep = false;
    Json record = Json::parse(
        line,
        [&is_deep](int depth, Json::parse_event_t, Json&) {
            is_deep = is_deep || depth > kDepthMax;
            return !is_deep;
        },
        false);
    return is_deep ? Json(Json::value_t::discarded) : record;
}

std::string word_in(const Json& record, const char* name) {
    const auto found = record.find(name);
    if (found == record.end()) {
        return "-";
    }
    return found->is_string() ? found->get<std::string>() : found->dump();
}

bool begins_with(const Json& record, const char* name, const std::string& beginning) {
    return beginning.empty() || word_in(record, name).starts_with(beginning);
}

// A StartJob names its volumes in a list.
bool is_about_volume(const Json& record, const std::string& beginning) {
    if (begins_with(record, "volume", beginning)) {
        return true;
    }
    const auto list = record.find("volumes");
    return list != record.end() && list->is_array() && std::ranges::any_of(*list, [&beginning](const Json& one) {
               return one.is_string() && one.get_ref<const std::string&>().starts_with(beginning);
           });
}

} // namespace

bool is_wanted(const std::string& line, const AuditList& list) {
    const Json record = record_of(line);
    if (!record.is_object() || !record.contains("seq") || !is_about_volume(record, list.volume) || !begins_with(record, "job", list.job)) {
        return false;
    }
    if (list.uid && word_in(record, "uid") != std::to_string(*list.uid)) {
        return false;
    }
    return list.since.empty() || word_in(record, "time") >= list.since;
}

std::string render_audit(const std::vector<std::string>& lines, Format format, std::optional<unsigned> width) {
    Json records = Json::array();
    for (const auto& line : lines) {
        records.push_back(record_of(line));
    }
    if (format != Format::Table) {
        return structured_text(records, format);
    }
    struct Column {
        const char* title;
        const char* name;
    };
    constexpr std::array kColumns = {Column{"SEQ", "seq"},         Column{"TIME", "time"}, Column{"EVENT", "event"},
                                     Column{"REQUEST", "request"}, Column{"UID", "uid"},   Column{"VERDICT", "verdict"},
                                     Column{"VOLUME", "volume"},   Column{"JOB", "job"}};
    constexpr std::size_t kIdShown = 12;
    std::vector<TableColumn> columns;
    for (const auto& [title, name] : kColumns) {
        TableColumn column = {title};
        const bool is_id = name == std::string_view("volume") || name == std::string_view("job");
        for (const auto& record : records) {
            const std::string word = word_in(record, name);
            column.push_back(is_id ? word.substr(0, kIdShown) : word);
        }
        columns.push_back(std::move(column));
    }
    return render_columns(columns, width);
}

} // namespace joblet::cli
