"""`scripts/cost`: what an environment costs before it is deployed, from its synthesized templates."""
