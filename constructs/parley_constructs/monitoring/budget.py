"""The month's budget, and its warnings."""

from collections.abc import Mapping

from aws_cdk import aws_budgets as budgets
from aws_cdk import aws_sns as sns
from constructs import Construct

_WARNINGS = (("ACTUAL", 80), ("ACTUAL", 100), ("FORECASTED", 100))
"""Percent of the budget that is spent, or will have been by the end of the month."""


def add_budget(scope: Construct, topic: sns.ITopic, limit_usd: float, tags: Mapping[str, str]) -> None:
    """A budget that warns through `topic`, which must admit Budgets; over what carries one of `tags`, or over all."""
    subscriber = budgets.CfnBudget.SubscriberProperty(subscription_type="SNS", address=topic.topic_arn)
    values = [f"user:{key}${value}" for key, value in tags.items()]
    budget = budgets.CfnBudget(
        scope,
        "Budget",
        budget=budgets.CfnBudget.BudgetDataProperty(
            budget_type="COST",
            time_unit="MONTHLY",
            budget_limit=budgets.CfnBudget.SpendProperty(amount=limit_usd, unit="USD"),
            cost_filters={"TagKeyValue": values} if values else None,
        ),
        notifications_with_subscribers=[
            budgets.CfnBudget.NotificationWithSubscribersProperty(
                notification=budgets.CfnBudget.NotificationProperty(
                    notification_type=kind,
                    comparison_operator="GREATER_THAN",
                    threshold=percent,
                    threshold_type="PERCENTAGE",
                ),
                subscribers=[subscriber],
            )
            for kind, percent in _WARNINGS
        ],
    )
    # Budgets checks that it may publish when it is made.
    budget.node.add_dependency(topic)
