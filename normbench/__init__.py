"""What the notebook calls: data, augmentation, training, figures, report."""
