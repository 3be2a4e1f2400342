"""Speed and accuracy measured side by side, and swaps of many networks: `python -m study.benchmarks.NAME`.

- `loop`: a conventional training loop beside ours;
- `cost`: seconds and memory as batches, data and network grow;
- `step`: where the time of a step goes;
- `gpu`: a step on a GPU, recorded or not;
- `side_by_side`: two trainings at once, or one after the other;
- `race`, `levels`: races of made-up comparisons, and replays of finished ones; the level of a look;
- `raced`: races of small networks beside the fixed design;
- `search`: networks and recipes tried on held-out training images;
- `pretrained`: what is left of a trained network's accuracy after a swap;
- `networks`: what `swap` makes of the networks of other libraries.

What they measure goes to study/results/, from which the pages of docs/ are made.
"""
