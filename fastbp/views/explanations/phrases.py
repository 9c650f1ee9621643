"""Everything that explanations say in words, in English and Korean. Terms are those of the standard textbooks."""

from __future__ import annotations

from typing import Any, Literal

Language = Literal["en", "ko"]

PHRASES: dict[str, dict[str, str]] = {
    # ---- titles and parts
    "title": {"en": "The gradient of the error {target} for the weight {source}",
              "ko": "가중치 {source}에 대한 오차 {target}의 기울기"},
    "title_bias": {"en": "The gradient of the error {target} for the bias {source}",
                   "ko": "편향 {source}에 대한 오차 {target}의 기울기"},
    "title_scalar": {"en": "The derivative of {target} with respect to {source}",
                     "ko": "{source}에 대한 {target}의 미분"},
    "forward": {"en": "Forward pass", "ko": "순전파"},
    "backward": {"en": "Backward pass", "ko": "역전파"},
    "chain": {"en": "Chain rule", "ko": "연쇄법칙"},
    "update": {"en": "Update", "ko": "가중치 갱신"},
    "check": {"en": "Check", "ko": "검산"},
    "notes": {"en": "Notes", "ko": "참고"},
    "factors": {"en": "Local derivatives", "ko": "국소 미분"},
    # ---- sums
    "sum_of_paths": {"en": "the sum over {count} paths", "ko": "경로 {count}개의 합"},
    "sum_of_samples": {"en": "the sum over {samples} samples, {count} paths in all",
                       "ko": "표본 {samples}개의 합, 경로는 모두 {count}개"},
    "path": {"en": "path {k}", "ko": "경로 {k}"},
    "sample": {"en": "sample {k}", "ko": "표본 {k}"},
    "position": {"en": "position {k}", "ko": "위치 {k}"},
    "use": {"en": "use {k} of the layer", "ko": "층의 사용 {k}"},
    "paths": {"en": "{count} paths", "ko": "경로 {count}개"},
    "one_path": {"en": "1 path", "ko": "경로 1개"},
    "rest": {"en": "{count} smaller paths together", "ko": "나머지 작은 경로 {count}개의 합"},
    "rest_one": {"en": "1 smaller path", "ko": "나머지 작은 경로 1개"},
    "sum": {"en": "sum", "ko": "합"},
    "more_units": {"en": "{count} more", "ko": "외 {count}개"},
    "one_pass": {"en": "Backpropagation adds paths up where they meet, so one product is left:",
                 "ko": "오차역전파는 경로가 만나는 곳에서 미리 더해 두므로 곱셈 한 번만 남습니다:"},
    # ---- check and update
    "numerical": {"en": "numerical gradient", "ko": "수치 미분"},
    "numerical_how": {"en": "central difference with h = {h}, {evaluations} forward passes",
                      "ko": "중심 차분, h = {h}, 순전파 {evaluations}번"},
    "by_chain": {"en": "chain rule", "ko": "연쇄법칙"},
    "by_backward": {"en": "backward pass of the network ({backend})", "ko": "신경망의 역전파 ({backend})"},
    "difference": {"en": "difference", "ko": "차이"},
    "relative": {"en": "relative difference", "ko": "상대 오차"},
    "descent": {"en": "gradient descent with learning rate η = {lr}", "ko": "경사하강법, 학습률 η = {lr}"},
    # ---- notes
    "mean": {"en": "E is the mean over {rows} rows: the error of each, E₁, E₂, …, enters with 1/{rows}, and what "
                   "the samples give is added up.",
             "ko": "E는 {rows}개 표본의 평균입니다. 각 표본의 오차 E₁, E₂, …가 1/{rows}씩 더해지므로 표본마다 구한 "
                   "값을 모두 더합니다."},
    "weighted": {"en": "E is the weighted mean over {rows} rows: the error of each enters with its share ρ, and "
                       "what the samples give is added up.",
                 "ko": "E는 {rows}개 표본의 가중 평균입니다. 각 표본의 오차가 비중 ρ만큼 더해지므로 표본마다 구한 "
                       "값을 모두 더합니다."},
    "softmax": {"en": "p is the softmax of the outputs o, which the loss includes.",
                "ko": "p는 출력 o의 소프트맥스이며, 손실 함수에 포함되어 있습니다."},
    "mixed": {"en": "Batch normalisation mixes the samples: a path may pass from one to another. ⟨k⟩ marks sample k.",
              "ko": "배치 정규화는 표본을 섞으므로 경로가 한 표본에서 다른 표본으로 이어질 수 있습니다. ⟨k⟩는 "
                    "k번째 표본입니다."},
    "marked": {"en": "Samples meet in this computation: ⟨k⟩ marks sample k.",
               "ko": "이 계산에서는 표본들이 만납니다. ⟨k⟩는 k번째 표본입니다."},
    "shared": {"en": "The layer is used {count} times with the same weights: the gradient is the sum over its uses.",
               "ko": "이 층은 같은 가중치로 {count}번 쓰이므로, 기울기는 쓰인 곳마다 구한 값의 합입니다."},
    "dropout": {"en": "Dropout is at work, as in training: the mask is that of the next step.",
                "ko": "학습할 때처럼 드롭아웃이 적용되며, 마스크는 다음 스텝의 것입니다."},
    "frozen": {"en": "The layer is frozen (trainable=False): this is the gradient it would have. Training gives it "
                     "none and leaves the weight as it is.",
               "ko": "이 층은 동결되어 있습니다(trainable=False). 여기 보인 것은 동결되지 않았을 때의 기울기이며, "
                     "학습 중에는 가중치가 바뀌지 않습니다."},
    "sigma": {"en": "Σ with an index n is the sum of the n smaller terms of a long sum.",
              "ko": "Σ 아래의 수 n은 긴 합에서 작은 항 n개를 묶은 것입니다."},
    "long": {"en": "⋯ stands for the factors in the middle of a long product; among the numbers stands what they come "
                   "to.",
             "ko": "⋯는 긴 곱의 가운데 인수들을 줄인 것이며, 숫자로 쓴 곱에는 그 인수들을 곱한 값이 들어 있습니다."},
    "kink": {"en": "There is a kink here: the slope is {left} on the left and {right} on the right. No derivative "
                   "exists; backpropagation takes one of the slopes between, the central difference their mean.",
             "ko": "이 점은 꺾인 점입니다. 왼쪽 기울기는 {left}, 오른쪽 기울기는 {right}입니다. 미분값이 존재하지 "
                   "않으므로 역전파는 그 사이의 기울기를 쓰고, 중심 차분은 두 값의 평균이 됩니다."},
    "zero": {"en": "The gradient is 0, because {derivative} = 0: nothing gets through there, and the weight does "
                   "not learn from this batch.",
             "ko": "{derivative} = 0이므로 기울기가 0입니다. 이 지점에서 신호가 끊겨, 이 배치로는 가중치가 "
                   "학습되지 않습니다."},
    "not_finite": {"en": "The gradient is not finite, because {derivative} is not.",
                   "ko": "{derivative} 값이 유한하지 않아 기울기도 유한하지 않습니다."},
    # ---- the page
    "step": {"en": "Step {k} of {n}", "ko": "{n}단계 중 {k}단계"},
    "back": {"en": "Back", "ko": "이전"},
    "next": {"en": "Next", "ko": "다음"},
    "first": {"en": "First step", "ko": "처음으로"},
    "last": {"en": "Last step", "ko": "마지막으로"},
    "choose_step": {"en": "Choose a step", "ko": "단계 고르기"},
    "choose_weight": {"en": "Weight", "ko": "가중치"},
    "all_steps": {"en": "All steps", "ko": "모든 단계"},
    "keys": {"en": "Keys: ← and → step, Home and End jump.",
             "ko": "키보드: ←, →로 한 단계씩, Home과 End로 처음과 끝."},
    "start": {"en": "Before the start", "ko": "시작"},
    "start_text": {"en": "The inputs and the weights are given. What is wanted: how much does {target} change if "
                         "{source} changes a little?",
                   "ko": "입력과 가중치가 주어져 있습니다. {source}의 값을 조금 바꾸면 {target}의 값은 얼마나 "
                         "변할까요?"},
    "forward_step": {"en": "Forward: {name}", "ko": "순전파: {name}"},
    "loss_step": {"en": "Forward: the error", "ko": "순전파: 오차"},
    "backward_step": {"en": "Backward: {derivative}", "ko": "역전파: {derivative}"},
    "middle_step": {"en": "Backward: {count} more factors", "ko": "역전파: 인수 {count}개 더"},
    "product_step": {"en": "The product along the path", "ko": "경로를 따른 곱"},
    "path_step": {"en": "One more path", "ko": "또 하나의 경로"},
    "so_far": {"en": "Product so far", "ko": "지금까지의 곱"},
    "gives": {"en": "so {derivative} = {value}", "ko": "따라서 {derivative} = {value}"},
    "sum_step": {"en": "The sum over the paths", "ko": "경로들의 합"},
    "check_step": {"en": "Check: does the numerical gradient agree?", "ko": "검산: 수치 미분과 비교"},
    "check_text": {"en": "The definition of the derivative, with two forward passes for this one weight. "
                         "Backpropagation needs one backward pass for all weights.",
                   "ko": "미분의 정의대로 계산하면 가중치 하나에 순전파가 두 번 필요합니다. 오차역전파는 역전파 한 "
                         "번으로 모든 가중치의 기울기를 구합니다."},
    "update_step": {"en": "The update", "ko": "가중치 갱신"},
    "update_text": {"en": "Against the gradient, by the learning rate times its size.",
                    "ko": "기울기의 반대 방향으로, 학습률에 기울기를 곱한 만큼 움직입니다."},
    "legend_forward": {"en": "value (forward)", "ko": "값 (순전파)"},
    "legend_backward": {"en": "derivative of {target} (backward)", "ko": "{target}의 미분 (역전파)"},
    "legend_chain": {"en": "the chain of {source}", "ko": "{source}의 경로"},
    "picture": {"en": "Computational graph. Values: {values}. The chain: {chain}.",
                "ko": "계산 그래프. 값: {values}. 경로: {chain}."},
    "scroll": {"en": "Computational graph, scrolls sideways", "ko": "계산 그래프, 좌우로 스크롤"},
    "here": {"en": "The sample shown is number {k}.", "ko": "그림의 표본은 {k}번째입니다."},
    # ---- the comparison
    "compare_title": {"en": "Numerical gradient against backpropagation", "ko": "수치 미분과 오차역전파 비교"},
    "compare_weights": {"en": "weights", "ko": "가중치 수"},
    "compare_passes": {"en": "forward passes", "ko": "순전파 횟수"},
    "compare_numerical": {"en": "numerical [s]", "ko": "수치 미분 [초]"},
    "compare_backward": {"en": "backprop [s]", "ko": "오차역전파 [초]"},
    "compare_ratio": {"en": "ratio", "ko": "비율"},
    "compare_difference": {"en": "largest relative difference", "ko": "최대 상대 오차"},
    "compare_line_numerical": {"en": "numerical gradient", "ko": "수치 미분"},
    "compare_line_backward": {"en": "backpropagation", "ko": "오차역전파"},
    "compare_seconds": {"en": "seconds for one gradient", "ko": "기울기 한 번에 걸리는 시간(초)"},
    "compare_axis": {"en": "weights of the network", "ko": "신경망의 가중치 수"},
    "compare_estimated": {"en": "* estimated: {measured} of the weights were probed and the time scaled up",
                          "ko": "* 추정값: 가중치 {measured}개만 재고 전체로 환산했습니다"},
    "compare_result": {"en": "Numerically each weight costs two forward passes; backpropagation finds all gradients "
                             "with one forward and one backward pass.",
                       "ko": "수치 미분은 가중치마다 순전파가 두 번 필요하지만, 오차역전파는 순전파와 역전파 한 "
                             "번씩으로 모든 기울기를 구합니다."},
}


def language(lang: str) -> Language:
    """Return a language, or raise ValueError for what is none."""
    if lang not in ("en", "ko"):
        raise ValueError(f'lang is {lang!r}; expected "en" or "ko"')
    return "ko" if lang == "ko" else "en"


def say(key: str, lang: str, **values: Any) -> str:
    """Return a phrase with its blanks filled in.

    >>> say("path", "ko", k=2)
    '경로 2'
    """
    return PHRASES[key][lang].format(**values)
