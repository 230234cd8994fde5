#include "server/server_metrics.h"

#include <prometheus/metric_family.h>
#include <prometheus/text_serializer.h>

#include <algorithm>
#include <limits>

#include "base/strcat.h"

namespace quire {

namespace {

using prometheus::ClientMetric;
using prometheus::MetricFamily;
using prometheus::MetricType;
using Label = ClientMetric::Label;

const std::vector<double>& LatencyBounds() {
  static const std::vector<double> bounds = {0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25,
                                             0.5,   1,      2.5,   5,    10,    30,   60,  120};
  return bounds;
}

ClientMetric Value(MetricType type, double value, std::vector<Label> labels = {}) {
  ClientMetric metric;
  metric.label = std::move(labels);
  (type == MetricType::Counter ? metric.counter.value : metric.gauge.value) = value;
  return metric;
}

MetricFamily Single(const std::string& name, const std::string& help, MetricType type,
                    double value) {
  return {name, help, type, {Value(type, value)}};
}

ClientMetric Distribution(const Histogram& histogram, std::vector<Label> labels = {}) {
  ClientMetric metric;
  metric.label = std::move(labels);
  metric.histogram.sample_count = histogram.count();
  metric.histogram.sample_sum = histogram.sum();
  uint64_t below = 0;
  for (size_t i = 0; i < histogram.counts().size(); ++i) {
    below += histogram.counts()[i];
    const double bound = i < histogram.bounds().size() ? histogram.bounds()[i]
                                                       : std::numeric_limits<double>::infinity();
    metric.histogram.bucket.push_back({below, bound});
  }
  return metric;
}

void AddStepTime(const std::string& name, const std::string& what, const StepTime& time,
                 std::vector<MetricFamily>& families) {
  families.push_back(Single("quire_last_" + name + "_seconds", what + " the last step",
                            MetricType::Gauge, time.last));
  families.push_back(Single("quire_" + name + "_seconds_total", what + " all steps",
                            MetricType::Counter, time.total));
}

void AddEngineFamilies(const EngineStats& stats, std::vector<MetricFamily>& families) {
  constexpr auto kCounter = MetricType::Counter;
  constexpr auto kGauge = MetricType::Gauge;
  families.push_back(Single("quire_running_requests", "Requests that hold pages", kGauge,
                            static_cast<double>(stats.running)));
  families.push_back(Single("quire_waiting_requests", "Requests that wait for pages", kGauge,
                            static_cast<double>(stats.waiting)));
  families.push_back(
      {"quire_kv_pages",
       "Pages of the key/value cache by state",
       kGauge,
       {Value(kGauge, static_cast<double>(stats.pages_free), {{"state", "free"}}),
        Value(kGauge, static_cast<double>(stats.pages_cached), {{"state", "cached"}}),
        Value(kGauge, static_cast<double>(stats.pages_owned), {{"state", "owned"}})}});
  families.push_back(Single("quire_kv_pages_capacity", "All pages of the key/value cache", kGauge,
                            static_cast<double>(stats.pages_total)));
  AddStepTime("step", "Duration of", stats.step_seconds, families);
  AddStepTime("step_host", "Time to form, commit and answer, without the device's work, of",
              stats.step_host_seconds, families);
  AddStepTime("step_gap", "Time without device work before", stats.step_gap_seconds, families);
  const std::pair<std::pair<const char*, const char*>, uint64_t> counters[] = {
      {{"quire_engine_steps_total", "Forward passes"}, stats.steps},
      {{"quire_prompt_tokens_total", "Prompt tokens computed, cached ones not counted"},
       stats.prompt_tokens},
      {{"quire_generated_tokens_total", "Tokens generated"}, stats.generated_tokens},
      {{"quire_prefix_cache_query_tokens_total", "Prompt tokens looked up in the prefix cache"},
       stats.prefix_query_tokens},
      {{"quire_prefix_cache_hit_tokens_total", "Prompt tokens found in the prefix cache"},
       stats.prefix_hit_tokens},
      {{"quire_tier_stored_pages_total", "Pages copied to host memory or disk"},
       stats.tier_stored_pages},
      {{"quire_tier_loaded_pages_total", "Pages brought back from there"}, stats.tier_loaded_pages},
      {{"quire_preemptions_total", "Requests that lost their pages to another"}, stats.preemptions},
      {{"quire_drafted_tokens_total", "Tokens that speculative decoding proposed and verified"},
       stats.drafted_tokens},
      {{"quire_accepted_draft_tokens_total", "Proposed tokens that were right"},
       stats.accepted_tokens},
      {{"quire_engine_requests_finished_total", "Requests that the engine has finished"},
       stats.requests_finished},
  };
  for (const auto& [name, value] : counters) {
    families.push_back(Single(name.first, name.second, kCounter, static_cast<double>(value)));
  }
}

}  // namespace

void Histogram::Observe(double value) {
  const auto bucket = std::lower_bound(bounds_.begin(), bounds_.end(), value) - bounds_.begin();
  ++counts_[static_cast<size_t>(bucket)];
  ++count_;
  sum_ += value;
}

ServerMetrics::ServerMetrics()
    : time_to_first_token(LatencyBounds()), inter_token(LatencyBounds()) {}

void ServerMetrics::CountRequest(std::string_view endpoint, int code, double seconds) {
  const std::string name(endpoint);
  ++requests_[{name, code}];
  latency_.try_emplace(name, LatencyBounds()).first->second.Observe(seconds);
}

std::string ServerMetrics::Text(const EngineStats& engine, EngineState state) const {
  std::vector<MetricFamily> families;
  MetricFamily requests{"quire_requests_total",
                        "HTTP requests answered; code 499: the client hung up before",
                        MetricType::Counter,
                        {}};
  for (const auto& [key, count] : requests_) {
    requests.metric.push_back(Value(MetricType::Counter, static_cast<double>(count),
                                    {{"endpoint", key.first}, {"code", StrCat(key.second)}}));
  }
  families.push_back(std::move(requests));
  MetricFamily latency{"quire_request_seconds",
                       "Time from a request to the end of its answer",
                       MetricType::Histogram,
                       {}};
  for (const auto& [endpoint, histogram] : latency_) {
    latency.metric.push_back(Distribution(histogram, {{"endpoint", endpoint}}));
  }
  families.push_back(std::move(latency));
  families.push_back({"quire_time_to_first_token_seconds",
                      "Time from a request to its first token",
                      MetricType::Histogram,
                      {Distribution(time_to_first_token)}});
  families.push_back({"quire_inter_token_seconds",
                      "Time between two tokens of one answer",
                      MetricType::Histogram,
                      {Distribution(inter_token)}});
  families.push_back(
      {"quire_engine_state",
       "1 for the state that the engine is in",
       MetricType::Gauge,
       {Value(MetricType::Gauge, 1, {{"state", std::string(EngineStateName(state))}})}});
  AddEngineFamilies(engine, families);
  return prometheus::TextSerializer().Serialize(families);
}

std::string_view EngineStateName(EngineState state) {
  switch (state) {
    case EngineState::kLoading: return "loading";
    case EngineState::kReady: return "ready";
    case EngineState::kFailed: return "failed";
    case EngineState::kDraining: return "draining";
    case EngineState::kStopped: return "stopped";
  }
  return "unknown";
}

}  // namespace quire
