#include "proxy/net/response_store.hpp"

#include "proxy/http/cache_control.hpp"

namespace outrigger::net {

void ResponseStore::begin(const exchange::StoreResponse& order, const http::ResponseHead& head,
                          std::int64_t wall_seconds, TimePoint now) {
  http::StorableResponse storable;
  http::read_storable(head.status, head.fields->view(), wall_seconds, order.took, storable);
  // Served, it bears a length and an age of our own beside these.
  if (storable.fields.size() + 2 > http::kMaxFields) storable.terms.storable = false;
  const policy::CacheHead kept{.status = head.status,
                               .fields = {storable.fields.begin(), storable.fields.size()},
                               .vary = {storable.vary.begin(), storable.vary.size()},
                               .terms = storable.terms,
                               .length = storable.length};
  fill_ = order.fill->begin(*order.config, kept, now) ? order.fill : nullptr;
  config_ = order.config;
}

}  // namespace outrigger::net
