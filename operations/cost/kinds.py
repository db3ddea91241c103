"""Resource types that cost nothing while nobody uses them, each group with where that stands.

A type that is neither here nor priced in `operations.cost.idle` has no price: it is reported, never taken for free.
"""

_FREE = {
    "https://aws.amazon.com/iam/": "IAM::Policy IAM::Role IAM::ManagedPolicy IAM::ServiceLinkedRole IAM::OIDCProvider",
    "https://aws.amazon.com/api-gateway/pricing/": (
        "ApiGateway::Account ApiGatewayV2::ApiMapping ApiGatewayV2::Authorizer ApiGatewayV2::Deployment "
        "ApiGatewayV2::DomainName ApiGatewayV2::Integration ApiGatewayV2::IntegrationResponse ApiGatewayV2::Model "
        "ApiGatewayV2::Route ApiGatewayV2::RouteResponse ApiGatewayV2::Stage"
    ),
    "https://aws.amazon.com/autoscaling/pricing/": "ApplicationAutoScaling::ScalableTarget",
    # A budget without actions; with them the third one costs.
    "https://aws.amazon.com/aws-cost-management/aws-budgets/pricing/": "Budgets::Budget",
    "https://aws.amazon.com/certificate-manager/pricing/": "CertificateManager::Certificate",
    "https://aws.amazon.com/cloudfront/pricing/": (
        "CloudFront::CachePolicy CloudFront::OriginAccessControl CloudFront::OriginRequestPolicy "
        "CloudFront::ResponseHeadersPolicy"
    ),
    "https://aws.amazon.com/codedeploy/pricing/": (
        "CodeDeploy::Application CodeDeploy::DeploymentConfig CodeDeploy::DeploymentGroup"
    ),
    "https://aws.amazon.com/cognito/pricing/": (
        "Cognito::UserPoolClient Cognito::UserPoolDomain Cognito::UserPoolGroup Cognito::UserPoolResourceServer"
    ),
    "https://aws.amazon.com/dynamodb/pricing/": "DAX::ParameterGroup DAX::SubnetGroup",
    "https://aws.amazon.com/vpc/pricing/": (
        "EC2::InternetGateway EC2::NetworkAcl EC2::NetworkAclEntry EC2::Route EC2::RouteTable EC2::SecurityGroup "
        "EC2::SecurityGroupEgress EC2::SecurityGroupIngress EC2::Subnet EC2::SubnetNetworkAclAssociation "
        "EC2::SubnetRouteTableAssociation EC2::VPC EC2::VPCGatewayAttachment"
    ),
    # Rules for events of AWS's own services.
    "https://aws.amazon.com/eventbridge/pricing/": "Events::Rule",
    "https://aws.amazon.com/kms/pricing/": "KMS::Alias",
    "https://aws.amazon.com/lambda/pricing/": (
        "Lambda::EventInvokeConfig Lambda::LayerVersion Lambda::LayerVersionPermission Lambda::Permission"
    ),
    "https://aws.amazon.com/cloudwatch/pricing/": (
        "Logs::Delivery Logs::DeliveryDestination Logs::DeliverySource Logs::QueryDefinition Logs::ResourcePolicy"
    ),
    "https://aws.amazon.com/opensearch-service/pricing/": (
        "OpenSearchServerless::AccessPolicy OpenSearchServerless::Index OpenSearchServerless::SecurityPolicy"
    ),
    "https://aws.amazon.com/route53/pricing/": "Route53::RecordSet",
    "https://aws.amazon.com/s3/pricing/": "S3::BucketPolicy S3Vectors::Index S3Vectors::VectorBucketPolicy",
    # Rotation is an invocation of a function, and requests.
    "https://aws.amazon.com/secrets-manager/pricing/": (
        "SecretsManager::ResourcePolicy SecretsManager::RotationSchedule SecretsManager::SecretTargetAttachment"
    ),
    "https://aws.amazon.com/sns/pricing/": "SNS::Subscription SNS::TopicPolicy",
    "https://aws.amazon.com/sqs/pricing/": "SQS::QueuePolicy",
    # Standard parameters.
    "https://aws.amazon.com/systems-manager/pricing/": "SSM::Parameter",
    "https://aws.amazon.com/waf/pricing/": "WAFv2::IPSet WAFv2::RegexPatternSet WAFv2::WebACLAssociation",
    "https://aws.amazon.com/xray/pricing/": "XRay::Group XRay::ResourcePolicy XRay::SamplingRule",
    # Functions of the CDK's own, called while a stack is deployed.
    "https://aws.amazon.com/cloudformation/pricing/": (
        "CloudFormation::CustomResource CloudFormation::WaitCondition CloudFormation::WaitConditionHandle"
    ),
}

_BY_USE = {
    "https://aws.amazon.com/api-gateway/pricing/": "ApiGatewayV2::Api",
    "https://aws.amazon.com/bedrock/pricing/": "Bedrock::Guardrail Bedrock::GuardrailVersion",
    "https://aws.amazon.com/cloudfront/pricing/": "CloudFront::Distribution CloudFront::Function",
    "https://aws.amazon.com/cloudwatch/pricing/": "EC2::FlowLog Logs::LogGroup Logs::MetricFilter",
    "https://aws.amazon.com/cognito/pricing/": "Cognito::UserPool",
    "https://aws.amazon.com/eventbridge/pricing/": "Scheduler::Schedule Scheduler::ScheduleGroup",
    "https://aws.amazon.com/s3/pricing/": "S3::Bucket S3Vectors::VectorBucket",
    "https://aws.amazon.com/sns/pricing/": "SNS::Topic",
    "https://aws.amazon.com/sqs/pricing/": "SQS::Queue",
    "https://aws.amazon.com/waf/pricing/": "WAFv2::LoggingConfiguration",
}


def _types(groups: dict[str, str]) -> dict[str, str]:
    return {f"AWS::{kind}": source for source, kinds in groups.items() for kind in kinds.split()}


FREE = _types(_FREE)
"""Types that cost nothing at all, with Amazon's page that says so by listing no price for them."""

BY_USE = _types(_BY_USE)
"""Types that cost by request, by volume or by user, and nothing at rest."""


def is_free(resource_type: str) -> str:
    """Where it stands that a type is free; empty where it is not."""
    if resource_type.startswith("Custom::"):
        return FREE["AWS::CloudFormation::CustomResource"]
    return FREE.get(resource_type, "")
