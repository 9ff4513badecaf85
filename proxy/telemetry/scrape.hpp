// proxy/telemetry/scrape.hpp
//
// How one scrape is put together: families in the model of prometheus-cpp, and the sums over workers that go into them.
// Here because the export reads better as a list of families than as a list of vectors.
//
// Threads: the control thread.
#pragma once

#include <array>
#include <cstdint>
#include <initializer_list>
#include <limits>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <prometheus/metric_family.h>

#include "proxy/telemetry/metric_shard.hpp"

namespace outrigger::telemetry {

using prometheus::ClientMetric;
using prometheus::MetricFamily;
using prometheus::MetricType;

using LabelList = std::initializer_list<std::pair<std::string_view, std::string_view>>;

template <class E>
constexpr std::size_t at(E enumerator) noexcept {
  return static_cast<std::size_t>(enumerator);
}
/// All enumerators of an enumeration that counts from 0.
template <class E, std::size_t kCount>
constexpr std::array<E, kCount> enumerators() noexcept {
  std::array<E, kCount> list{};
  for (std::size_t i = 0; i < kCount; ++i) list[i] = static_cast<E>(i);
  return list;
}
inline constexpr auto kAllReasons = enumerators<Reason, kReasonCount>();

template <class List, class Value>
constexpr bool contains(const List& list, const Value& value) noexcept {
  for (const auto& element : list) {
    if (element == value) return true;
  }
  return false;
}

/// Collects the series of one family.
class Family {
 public:
  Family(std::vector<MetricFamily>& all, std::string name, std::string help, MetricType type)
      : all_(all), index_(all.size()), type_(type) {
    all.push_back({std::move(name), std::move(help), type, {}});
  }

  template <class Number>
  void add(LabelList labels, Number number) {
    ClientMetric& metric = labelled(labels);
    (type_ == MetricType::Counter ? metric.counter.value : metric.gauge.value) = static_cast<double>(number);
  }
  void add(LabelList labels, ClientMetric::Histogram histogram) { labelled(labels).histogram = std::move(histogram); }

 private:
  ClientMetric& labelled(LabelList labels) {
    ClientMetric& metric = all_[index_].metric.emplace_back();
    for (const auto& [name, value] : labels) metric.label.push_back({std::string{name}, std::string{value}});
    return metric;
  }

  std::vector<MetricFamily>& all_;
  std::size_t index_;
  MetricType type_;
};

/// The families of one scrape.
class Scrape {
 public:
  Family counter(std::string_view name, std::string help) { return family(name, std::move(help), MetricType::Counter); }
  Family gauge(std::string_view name, std::string help) { return family(name, std::move(help), MetricType::Gauge); }
  Family histogram(std::string_view name, std::string help) {
    return family(name, std::move(help), MetricType::Histogram);
  }
  Family process(std::string name, std::string help, MetricType type) {
    return Family(families_, std::move(name), std::move(help), type);
  }

  std::vector<MetricFamily> take() && { return std::move(families_); }

 private:
  Family family(std::string_view name, std::string help, MetricType type) {
    return Family(families_, "outrigger_" + std::string{name}, std::move(help), type);
  }

  std::vector<MetricFamily> families_;
};

/// The sum of one cell over all workers.
template <class Row, class Cell>
auto sum(const MetricRegistry::PerWorker<Row>& rows, Cell cell) {
  decltype(cell(*rows.front()).value()) total = 0;
  for (const auto& row : rows) total += cell(*row).value();
  return total;
}

/// The sum of one histogram over all workers.
template <class Row, class Pick>
ClientMetric::Histogram merge(const MetricRegistry::PerWorker<Row>& rows, const Buckets& buckets, Pick pick) {
  ClientMetric::Histogram merged;
  for (std::size_t bucket = 0; bucket <= buckets.ns.size(); ++bucket) {
    for (const auto& row : rows) merged.sample_count += pick(*row).count(bucket);
    const bool bounded = bucket < buckets.ns.size();
    const double bound = bounded ? buckets.seconds[bucket] : std::numeric_limits<double>::infinity();
    merged.bucket.push_back({merged.sample_count, bound});
  }
  for (const auto& row : rows) merged.sample_sum += static_cast<double>(pick(*row).sum().count()) / 1e9;
  return merged;
}

}  // namespace outrigger::telemetry
