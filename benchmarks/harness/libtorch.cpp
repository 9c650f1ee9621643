// A training loop in C++ on LibTorch, without Python between the operations: called from peer_libtorch.py.
// Each function returns nullptr, or the message of what went wrong.

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <c10/core/GradMode.h>

#include <cstdint>
#include <string>
#include <vector>

namespace {

constexpr int64_t kMiniBatches = 16;

struct Session {
    std::vector<int64_t> widths;
    bool tanh, mse, by_hand;
    double rate, beta1, beta2, epsilon;
    std::vector<at::Tensor> x, y;                             // mini-batches
    std::vector<at::Tensor> parameters, first, second, steps; // parameters: weight (O, I), bias (O), layer by layer

    at::Tensor activate(const at::Tensor& z) const { return tanh ? at::tanh(z) : at::relu(z); }

    at::Tensor loss_of(const at::Tensor& z, const at::Tensor& target) const {
        return mse ? at::mse_loss(z, target) : at::cross_entropy_loss(z, target);
    }

    // As one writes it with torch::nn::Linear: the graph is recorded, and walked back.
    at::Tensor recorded(int64_t batch, std::vector<at::Tensor>& gradients) {
        at::Tensor a = x[batch];
        for (size_t i = 0; i < parameters.size(); i += 2) {
            a = at::linear(a, parameters[i], parameters[i + 1]);
            if (i + 2 < parameters.size()) a = activate(a);
        }
        at::Tensor loss = loss_of(a, y[batch]);
        loss.backward();
        for (at::Tensor& p : parameters) {
            gradients.push_back(p.grad());
            p.mutable_grad() = at::Tensor();
        }
        return loss.detach();
    }

    // The same without a record: the derivatives are written out in LibTorch's own operations.
    at::Tensor written_out(int64_t batch, std::vector<at::Tensor>& gradients) {
        const size_t n = parameters.size();
        std::vector<at::Tensor> inputs{x[batch]};
        at::Tensor z;
        for (size_t i = 0; i < n; i += 2) {
            z = at::addmm(parameters[i + 1], inputs.back(), parameters[i].t());
            if (i + 2 < n) inputs.push_back(tanh ? z.tanh_() : z.relu_());
        }
        at::Tensor loss, d;
        if (mse) {
            at::Tensor difference = z - y[batch];
            loss = difference.square().mean();
            d = difference.mul_(2.0 / static_cast<double>(z.numel()));
        } else {
            at::Tensor logs = at::log_softmax(z, 1);
            loss = at::nll_loss(logs, y[batch]);
            at::Tensor rows = y[batch].unsqueeze(1);
            d = logs.exp_().scatter_add_(1, rows, at::full({z.size(0), 1}, -1.0)).div_(z.size(0));
        }
        gradients.resize(n);
        for (size_t i = n; i > 0; i -= 2) {
            const at::Tensor& input = inputs[i / 2 - 1];
            gradients[i - 2] = at::mm(d.t(), input);
            gradients[i - 1] = d.sum(0);
            if (i == 2) break;
            d = at::mm(d, parameters[i - 2]);
            d = tanh ? at::tanh_backward(d, input) : at::threshold_backward(d, input, 0);
        }
        return loss;
    }

    at::Tensor step(int64_t batch) {
        std::vector<at::Tensor> gradients;
        gradients.reserve(parameters.size());
        at::Tensor loss;
        if (by_hand) {
            c10::NoGradGuard guard;
            loss = written_out(batch, gradients);
        } else {
            loss = recorded(batch, gradients);
        }
        c10::NoGradGuard guard;
        for (at::Tensor& s : steps) s.add_(1);
        at::_fused_adam_(parameters, gradients, first, second, {}, steps, rate, beta1, beta2, 0.0, epsilon, false,
                         false);
        return loss;
    }

    void reset(const float* values) {
        c10::NoGradGuard guard;
        for (size_t i = 0; i < parameters.size(); ++i) {
            at::Tensor& p = parameters[i];
            p.copy_(at::from_blob(const_cast<float*>(values), p.sizes()));
            values += p.numel();
            first[i].zero_();
            second[i].zero_();
            steps[i].zero_();
        }
    }
};

std::string message;

template <class Body>
const char* guarded(Body body) {
    try {
        body();
        return nullptr;
    } catch (const std::exception& error) {
        message = error.what();
        return message.c_str();
    }
}

}  // namespace

extern "C" {

// adam: learning rate, the two decays, epsilon. y: float for the mean squared error, else int64 labels.
const char* session_create(Session** made, int64_t layers, const int64_t* widths, int64_t batch, int tanh, int mse,
                           int by_hand, const double* adam, const float* x, const void* y, int threads) {
    return guarded([&] {
        at::set_num_threads(threads);
        at::globalContext().setFlushDenormal(true);
        auto* s = new Session{{widths, widths + layers + 1}, tanh != 0, mse != 0, by_hand != 0,
                              adam[0], adam[1], adam[2], adam[3], {}, {}, {}, {}, {}, {}};
        *made = s;
        const int64_t inputs = widths[0], outputs = widths[layers];
        at::Tensor all_x = at::from_blob(const_cast<float*>(x), {kMiniBatches, batch, inputs}).clone();
        at::Tensor all_y = mse ? at::from_blob(const_cast<void*>(y), {kMiniBatches, batch, outputs}).clone()
                               : at::from_blob(const_cast<void*>(y), {kMiniBatches, batch}, at::kLong).clone();
        s->x = all_x.unbind();
        s->y = all_y.unbind();
        for (int64_t i = 0; i < layers; ++i) {
            s->parameters.push_back(at::zeros({widths[i + 1], widths[i]}));
            s->parameters.push_back(at::zeros({widths[i + 1]}));
        }
        for (at::Tensor& p : s->parameters) {
            s->first.push_back(at::zeros_like(p));
            s->second.push_back(at::zeros_like(p));
            s->steps.push_back(at::zeros({}));
            p.set_requires_grad(!s->by_hand);
        }
    });
}

const char* session_reset(Session* s, const float* values) {
    return guarded([&] { s->reset(values); });
}

const char* session_losses(Session* s, float* losses) {
    return guarded([&] {
        for (int64_t i = 0; i < kMiniBatches; ++i) losses[i] = s->step(i).item<float>();
    });
}

const char* session_run(Session* s, int64_t epochs) {
    return guarded([&] {
        for (int64_t e = 0; e < epochs; ++e)
            for (int64_t i = 0; i < kMiniBatches; ++i) s->step(i);
    });
}

void session_destroy(Session* s) { delete s; }

}  // extern "C"
