// proxy/config/near_miss.hpp
//
// "Did you mean": the known word that is closest to an unknown one, by how many letters must be inserted, removed,
// replaced or swapped with their neighbour. Far-fetched guesses are worse than none, so at most a third of the letters
// may differ.
//
// Source: optimal string alignment distance (F. Damerau, 1964). Cost: product of the lengths, per candidate.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace outrigger::config {

/// How many edits lie between two words.
std::size_t edit_distance(std::string_view from, std::string_view to);

/// `did you mean "x"?` for the closest candidate; empty where none is close.
std::string did_you_mean(std::string_view word, const std::vector<std::string_view>& candidates);

/// Only the closest candidate itself; empty where none is close.
std::string_view closest(std::string_view word, const std::vector<std::string_view>& candidates);

}  // namespace outrigger::config
