#include "scheduler/growth_forecast.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <random>

namespace quire {
namespace {

Request Make(int32_t prompt, int32_t max_new_tokens) {
  RequestSpec spec;
  spec.prompt.assign(prompt, 1);
  spec.max_new_tokens = max_new_tokens;
  return Request(spec, {}, 100'000);
}

TEST(GrowthForecast, AssumesAllThatIsAllowedAtFirst) {
  const GrowthForecast forecast(4);
  const Growth growth = forecast.Of(Make(9, 16), 2, 1);
  EXPECT_EQ(growth.to_come, 16);
  EXPECT_EQ(growth.known_pages, 1);  // 9 tokens take 3 pages
  EXPECT_EQ(growth.more_pages, 3);   // 24 tokens, the last one is not written: 6 pages
  EXPECT_EQ(growth.own_pages, 1);
}

TEST(GrowthForecast, LearnsWhatShareIsDrawn) {
  GrowthForecast forecast(4);
  forecast.Observe(1, 4);
  EXPECT_EQ(forecast.share(), 0.625);
  for (int i = 0; i < 1000; ++i) {
    forecast.Observe(1, 4);
  }
  EXPECT_NEAR(forecast.share(), 0.25, 1e-3);
  EXPECT_NEAR(forecast.Of(Make(9, 400), 0, 0).to_come, 100, 1);
}

TEST(GrowthForecast, WhoOutlivesItsForecastGoesOnForAPage) {
  GrowthForecast forecast(4);
  for (int i = 0; i < 1000; ++i) {
    forecast.Observe(1, 1000);
  }
  Request request = Make(1, 10);
  EXPECT_EQ(forecast.Of(request, 0, 0).to_come, 4);
  request.Start(1, 0);
  for (int i = 0; i < 8; ++i) {
    request.Advance(1);
    request.Append(1);
  }
  EXPECT_EQ(forecast.Of(request, 3, 0).to_come, 2);  // never beyond what is allowed
}

TEST(GrowthForecast, ThePeakLiesWhereSomeHaveEnded) {
  const GrowthForecast forecast(1);
  // The second ends after 2 tokens and gives 10 pages back; the first takes 8 in all.
  const std::vector<Growth> growths = {{.to_come = 9, .more_pages = 8},
                                       {.to_come = 3, .more_pages = 2, .own_pages = 10}};
  EXPECT_EQ(forecast.PeakPages(growths), 5);  // 3 and 2 as the second ends; later 8 - 10 - 2
  EXPECT_EQ(forecast.PeakPages(std::span(growths).first(1)), 8);
}

// The model in plain loops: at every number of tokens from now, who is left and what it holds.
int64_t PeakByCounting(const std::vector<Request>& requests, const std::vector<int32_t>& held,
                       int32_t page_size, const GrowthForecast& forecast) {
  const auto pages = [page_size](int32_t tokens) { return (tokens + page_size - 1) / page_size; };
  int64_t peak = 0;
  for (int32_t drawn = 1; drawn <= 200; ++drawn) {
    int64_t more = 0;
    for (size_t i = 0; i < requests.size(); ++i) {
      const int32_t to_come = forecast.Of(requests[i], held[i], 0).to_come;
      more += (to_come >= drawn ? pages(requests[i].num_tokens() + drawn - 1) : 0) - held[i];
    }
    peak = std::max(peak, more);
  }
  return peak;
}

TEST(GrowthForecast, NeverForecastsLessThanCountingEachTokenAndAtMostAPageEachMore) {
  std::mt19937 random(1);
  const auto draw = [&random](int low, int high) {
    return std::uniform_int_distribution<int32_t>(low, high)(random);
  };
  for (int round = 0; round < 2000; ++round) {
    const int32_t page_size = 1 << draw(0, 5);
    const GrowthForecast forecast(page_size);
    std::vector<Request> requests;
    std::vector<int32_t> held;
    std::vector<Growth> growths;
    for (int32_t i = draw(1, 8); i > 0; --i) {
      requests.push_back(Make(draw(1, 60), draw(1, 60)));
      held.push_back(draw(0, (requests.back().num_tokens() + page_size - 1) / page_size));
      growths.push_back(forecast.Of(requests.back(), held.back(), 0));
    }
    std::ranges::sort(growths, std::greater<>(), &Growth::to_come);
    const int64_t counted = PeakByCounting(requests, held, page_size, forecast);
    const int64_t peak = forecast.PeakPages(growths);
    EXPECT_GE(peak, counted);
    EXPECT_LE(peak, counted + static_cast<int64_t>(requests.size()));
  }
}

}  // namespace
}  // namespace quire
