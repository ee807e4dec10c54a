// The operators nms and roi_align as torchvision defines them (aligned, explicit sampling), written
// in plain C++ for this benchmark: one image, float, NCHW, boxes (y0, x0, y1, x1) in pixels of the
// map, one thread, no headers of torch. All boxes are looked at in nms, none is left out early.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

namespace {

struct Tap {
  int pos[4];
  float weight[4];
};

// Taps of all samples of one box, which all channels share.
void taps_of_box(const float* box, int h, int w, int size, int sampling, std::vector<Tap>& taps) {
  const float start_y = box[0] - 0.5f, start_x = box[1] - 0.5f;
  const float bin_y = (box[2] - box[0]) / size, bin_x = (box[3] - box[1]) / size;
  size_t i = 0;
  for (int ph = 0; ph < size; ph++)
    for (int pw = 0; pw < size; pw++)
      for (int iy = 0; iy < sampling; iy++)
        for (int ix = 0; ix < sampling; ix++, i++) {
          float y = start_y + ph * bin_y + (iy + 0.5f) * bin_y / sampling;
          float x = start_x + pw * bin_x + (ix + 0.5f) * bin_x / sampling;
          Tap& tap = taps[i];
          if (y < -1.0f || y > h || x < -1.0f || x > w) {
            tap = Tap{};
            continue;
          }
          y = std::max(y, 0.0f);
          x = std::max(x, 0.0f);
          int y0 = (int)y, x0 = (int)x, y1, x1;
          if (y0 >= h - 1) y = y0 = y1 = h - 1; else y1 = y0 + 1;
          if (x0 >= w - 1) x = x0 = x1 = w - 1; else x1 = x0 + 1;
          const float ly = y - y0, lx = x - x0, hy = 1.0f - ly, hx = 1.0f - lx;
          tap = Tap{{y0 * w + x0, y0 * w + x1, y1 * w + x0, y1 * w + x1},
                    {hy * hx, hy * lx, ly * hx, ly * lx}};
        }
}

}  // namespace

extern "C" {

// `order`: rows by falling score. Returns the number of kept rows, which go to `keep`.
int64_t nms(const float* boxes, const int64_t* order, int64_t n, double iou_max, int64_t* keep) {
  std::vector<uint8_t> suppressed(n, 0);
  std::vector<float> areas(n);
  for (int64_t i = 0; i < n; i++)
    areas[i] = (boxes[4 * i + 2] - boxes[4 * i]) * (boxes[4 * i + 3] - boxes[4 * i + 1]);
  int64_t kept = 0;
  for (int64_t a = 0; a < n; a++) {
    const int64_t i = order[a];
    if (suppressed[i]) continue;
    keep[kept++] = i;
    const float* p = boxes + 4 * i;
    for (int64_t b = a + 1; b < n; b++) {
      const int64_t j = order[b];
      if (suppressed[j]) continue;
      const float* q = boxes + 4 * j;
      const float dy = std::max(0.0f, std::min(p[2], q[2]) - std::max(p[0], q[0]));
      const float dx = std::max(0.0f, std::min(p[3], q[3]) - std::max(p[1], q[1]));
      const float shared = dy * dx;
      if (shared / (areas[i] + areas[j] - shared) > iou_max) suppressed[j] = 1;
    }
  }
  return kept;
}

// features (c, h, w), boxes (n, 4), out (n, c, size, size).
void roi_align(const float* features, const float* boxes, float* out, int64_t n, int c, int h,
               int w, int size, int sampling) {
  const int cells = size * size, samples = sampling * sampling;
  std::vector<Tap> taps((size_t)cells * samples);
  for (int64_t i = 0; i < n; i++) {
    taps_of_box(boxes + 4 * i, h, w, size, sampling, taps);
    for (int k = 0; k < c; k++) {
      const float* plane = features + (size_t)k * h * w;
      float* to = out + ((size_t)i * c + k) * cells;
      for (int cell = 0; cell < cells; cell++) {
        float sum = 0;
        for (int s = 0; s < samples; s++) {
          const Tap& tap = taps[(size_t)cell * samples + s];
          for (int t = 0; t < 4; t++) sum += tap.weight[t] * plane[tap.pos[t]];
        }
        to[cell] = sum / samples;
      }
    }
  }
}

// grad (n, c, size, size), total (c, h, w) of zeros.
void roi_align_backward(const float* grad, const float* boxes, float* total, int64_t n, int c,
                        int h, int w, int size, int sampling) {
  const int cells = size * size, samples = sampling * sampling;
  std::vector<Tap> taps((size_t)cells * samples);
  for (int64_t i = 0; i < n; i++) {
    taps_of_box(boxes + 4 * i, h, w, size, sampling, taps);
    for (int k = 0; k < c; k++) {
      float* plane = total + (size_t)k * h * w;
      const float* from = grad + ((size_t)i * c + k) * cells;
      for (int cell = 0; cell < cells; cell++)
        for (int s = 0; s < samples; s++) {
          const Tap& tap = taps[(size_t)cell * samples + s];
          for (int t = 0; t < 4; t++) plane[tap.pos[t]] += tap.weight[t] * from[cell] / samples;
        }
    }
  }
}

}  // extern "C"
