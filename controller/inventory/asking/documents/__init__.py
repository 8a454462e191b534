"""What attested documents say of what runs: packages, components, SBOMs, findings, and the asset list made of them."""
