#include "cli/structured.h"

#include <yaml-cpp/yaml.h>

#include "cli/output.h"

namespace joblet::cli {
namespace {

constexpr int kIndent = 2;

// Texts are quoted, always: "no", "1e3" and "null" are names like any other. So are keys that users chose (labels).
enum class Keys : std::uint8_t { Ours, Users };

void emit_yaml(YAML::Emitter& out, const Json& value, Keys keys) {
    if (value.is_object()) {
        out << (value.empty() ? YAML::Flow : YAML::Block) << YAML::BeginMap;
        for (const auto& [key, inner] : value.items()) {
            out << YAML::Key << (keys == Keys::Ours ? YAML::Auto : YAML::DoubleQuoted) << key << YAML::Value;
            emit_yaml(out, inner, key == "labels" ? Keys::Users : Keys::Ours);
        }
        out << YAML::EndMap;
    } else if (value.is_array()) {
        out << (value.empty() ? YAML::Flow : YAML::Block) << YAML::BeginSeq;
        for (const auto& inner : value) {
            emit_yaml(out, inner, Keys::Ours);
        }
        out << YAML::EndSeq;
    } else if (value.is_string()) {
        out << YAML::DoubleQuoted << value.get_ref<const std::string&>();
    } else if (value.is_null()) {
        out << YAML::Null;
    } else if (value.is_boolean()) {
        out << value.get<bool>();
    } else { // the shortest digits that say it; not those that the emitter would choose
        out << value.dump();
    }
}

std::string yaml_text(const Json& value) {
    YAML::Emitter out;
    out.SetNullFormat(YAML::LowerNull);
    out.SetOutputCharset(YAML::EscapeNonAscii); // nothing that a terminal would obey
    emit_yaml(out, value, Keys::Ours);
    return std::string(out.c_str(), out.size()) + "\n";
}

} // namespace

Json time_or_null(std::int64_t ns) {
    return ns == 0 ? Json(nullptr) : Json(rfc3339(ns));
}

Json text_or_null(const std::string& text) {
    return text.empty() ? Json(nullptr) : Json(text);
}

Json limit_or_null(std::uint64_t limit) {
    return limit == 0 ? Json(nullptr) : Json(limit);
}

std::string json_text(const Json& value, int indent) {
    return value.dump(indent, ' ', true, Json::error_handler_t::replace) + "\n";
}

std::string structured_text(const Json& value, Format format) {
    return format == Format::Yaml ? yaml_text(value) : json_text(value, kIndent);
}

} // namespace joblet::cli
