"""Weakly supervised EfficientNet-B0 on single cells, as in the dissertation (section 3.4).

Command:  launch/train.py --config configs/wsl_dissertation.py --workdir runs/wsl \
            --config.data.store=PROJECT/outputs/single-cells \
            --config.init_weights=efficientnet-b0_weights.h5
          (`cellml profile train PROJECT` does the same from a project's own settings.)
Hardware: made for one GPU (the dissertation: 3.3 hours on a V100 for 8.3 million cells). Not run at
          this size here. Without --config.data.store it renders a small simulated screen.
Score:    published, folds of enrichment / mAP: BBBC037 24.71 / .1812, BBBC022 51.71 / .0932,
          BBBC036 34.13 / .0652 (plates left out).

What DeepProfiler and the dissertation do without saying so, and what is said, entry by entry (a
test compares them with the config):
  model.variant = 'b0'                        EfficientNet-B0, TensorFlow's SAME padding, swish
  model.input_px = 0                          crops as they are cut, 128 px
  model.intensity = 'deepprofiler-legacy'     each channel of a crop: (x - min) / max, nothing else
  model.masked = False                        neighbours stay in the crop
  model.drop_connect = 0.2                    scaled by block; no dropout before the classifier
  model.norm_momentum = 0.99                  of batch norm, with the statistics of each device
  model.classifier_scale = 1.0                Keras' first weights of the classifier
  model.dtype = 'float32'
  augmentation.zoom_probability = 0.5         square crop, resized back
  augmentation.zoom_min = 0.8                 its smallest side, as a share
  augmentation.flip_probability = 0.5         left to right
  augmentation.rotate = True                  by 0, 90, 180 or 270 degrees
  augmentation.brightness = 0.1               added to a channel, at most
  augmentation.contrast = 0.2                 factor of a channel about its mean, 1 +- at most
  loss.label_smoothing = 0.0
  optimizer.name = 'sgd'
  optimizer.learning_rate = 0.005
  optimizer.momentum = 0.9
  optimizer.nesterov = True
  optimizer.weight_decay = 2e-05              L2 of 1e-5 on kernels, whose gradient is twice that
  optimizer.schedule.name = 'constant'
  train.batch_size = 32
  train.epochs = 30                           of as many cells of each class as the median class has
  train.ema_decay = 0.0                       no average of the weights
  data.edges = False                          cells that the image cuts off do not train
  data.split.fraction = 0.6                   of a well's cells train, where cells are left out
Classes are balanced anew in every epoch, with repeats only where a class has fewer cells;
validation is balanced once. The first layer begins with ImageNet's channel i % 3, unscaled.
"""

from cellml.experiment.wsl_presets import dissertation as get_config
from cellml.experiment.wsl_presets import smoke

__all__ = ["get_config", "smoke"]
