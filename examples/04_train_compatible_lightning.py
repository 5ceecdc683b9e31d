"""The same three lines in a Lightning module: what example 04 does in plain PyTorch.

pip install pytorch-lightning
python examples/04_train_compatible_lightning.py
"""

import pytorch_lightning as lightning
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from hotfill.lab.losses import Cosine, Head, PairedBatch, Recipe, recipes
from hotfill.lab.losses.references import from_means


class CompatibleModel(lightning.LightningModule):
    """A network and a recipe; the recipe's heads and maps are parameters of the module."""

    def __init__(self, network: nn.Module, recipe: Recipe) -> None:
        super().__init__()
        self.network, self.recipe = network, recipe

    def training_step(self, batch: tuple[Tensor, Tensor, Tensor], _: int) -> Tensor:
        """The loss of one batch."""
        images, old_vectors, labels = batch
        progress = self.trainer.global_step / self.trainer.estimated_stepping_batches
        value = self.recipe(PairedBatch(self.network(images), old_vectors, labels), progress)
        self.log_dict({name: part.loss for name, part in value.parts.items()})
        return value.loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """One optimiser for the network and for the recipe's own parameters."""
        return torch.optim.Adam(self.parameters(), lr=3e-3)


def main() -> dict[str, float]:
    """Train on made-up items and old vectors; report how near the new model came."""
    torch.manual_seed(0)
    labels = torch.arange(400) % 8
    images = torch.randn(8, 20)[labels] + 0.5 * torch.randn(400, 20)
    old_vectors = torch.randn(8, 12)[labels] + 0.2 * torch.randn(400, 12)

    head = Head.random(8, 12, Cosine(scale=10))
    recipe = recipes.lce(head, from_means(old_vectors, labels, classes=8))
    network = nn.Sequential(nn.Linear(20, 64), nn.ReLU(), nn.Linear(64, 12))
    model = CompatibleModel(network, recipe)
    before = torch.cosine_similarity(network(images), old_vectors).mean().item()
    trainer = lightning.Trainer(
        max_epochs=20,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    loader = DataLoader(
        TensorDataset(images, old_vectors, labels), 50, shuffle=True, drop_last=True
    )
    trainer.fit(model, loader)
    after = torch.cosine_similarity(network(images), old_vectors).mean().item()
    print(f"cosine of new and old vectors of an item: {before:.2f} before, {after:.2f} after")
    return {"before": before, "after": after}


if __name__ == "__main__":
    main()
