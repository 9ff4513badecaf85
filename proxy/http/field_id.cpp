#include "proxy/http/field_id.hpp"

#include <array>
#include <cstddef>
#include <cstring>

#include "proxy/base/header_view.hpp"

namespace outrigger::http {
namespace {

constexpr std::size_t kIds = static_cast<std::size_t>(FieldId::count);

constexpr std::array<std::string_view, kIds> kNames = {"",
#define OUTRIGGER_FIELD(id, name) name,
                                                       OUTRIGGER_FIELDS(OUTRIGGER_FIELD)
#undef OUTRIGGER_FIELD
                                                           "",
                                                       ""};

/// Setting this bit lowers a letter, and of the other characters of a token maps none onto '-', the only one that is
/// not a letter in a known name.
constexpr unsigned char lowered(char c) noexcept { return static_cast<unsigned char>(c) | 0x20; }

constexpr std::size_t slot_of(std::string_view name) noexcept {
  return (name.size() + lowered(name.front()) * 3u + lowered(name.back()) * 26u) & 255u;
}

/// A known name as it is compared: half a cache line.
struct LowerName {
  std::uint8_t size = 0;
  std::array<char, 31> text{};
};

struct NameTable {
  std::array<FieldId, 256> slots{};
  std::array<LowerName, kIds> lower{};
  bool distinct = true;
};

constexpr NameTable make_table() {
  NameTable table;
  for (std::size_t i = 0; i < kIds; ++i) {
    const std::string_view name = kNames[i];
    if (name.empty()) continue;
    FieldId& slot = table.slots[slot_of(name)];
    if (slot != FieldId::other) table.distinct = false;
    slot = static_cast<FieldId>(i);
    table.lower[i].size = static_cast<std::uint8_t>(name.size());
    for (std::size_t c = 0; c < name.size(); ++c) table.lower[i].text[c] = ascii_lower(name[c]);
  }
  return table;
}
constexpr NameTable kTable = make_table();
static_assert(kTable.distinct, "two names share a slot: choose other factors in slot_of");

template <class Word>
bool same_word(const char* token, const char* lower) noexcept {
  Word a = 0;
  Word b = 0;
  std::memcpy(&a, token, sizeof a);
  std::memcpy(&b, lower, sizeof b);
  return (a | static_cast<Word>(0x2020202020202020u)) == b;
}

/// Compares a token with a lower-case known name of the same length, eight bytes at a time; the last word may overlap
/// the one before.
bool same_name(const char* token, const char* lower, std::size_t size) noexcept {
  if (size >= 8) {
    for (std::size_t i = 0; i + 8 < size; i += 8) {
      if (!same_word<std::uint64_t>(token + i, lower + i)) return false;
    }
    return same_word<std::uint64_t>(token + size - 8, lower + size - 8);
  }
  if (size >= 4) {
    return same_word<std::uint32_t>(token, lower) && same_word<std::uint32_t>(token + size - 4, lower + size - 4);
  }
  for (std::size_t i = 0; i < size; ++i) {
    if (lowered(token[i]) != static_cast<unsigned char>(lower[i])) return false;
  }
  return true;
}

bool begins_with(std::string_view name, std::string_view lower_prefix) noexcept {
  return name.size() > lower_prefix.size() && same_name(name.data(), lower_prefix.data(), lower_prefix.size());
}

}  // namespace

FieldId identify_field(std::string_view name) noexcept {
  if (name.empty()) return FieldId::other;
  const FieldId id = kTable.slots[slot_of(name)];
  const LowerName& known = kTable.lower[static_cast<std::size_t>(id)];
  if (known.size == name.size() && same_name(name.data(), known.text.data(), name.size())) return id;
  if (lowered(name.front()) != 'x') return FieldId::other;
  if (begins_with(name, "x-outrigger-")) return FieldId::x_outrigger;
  return begins_with(name, "x-forwarded-") ? FieldId::x_forwarded : FieldId::other;
}

std::string_view field_name(FieldId id) noexcept { return kNames[static_cast<std::size_t>(id)]; }

}  // namespace outrigger::http
