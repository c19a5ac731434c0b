//! Values that the chart does not take: by the schema, or because they contradict each other.

use anyhow::{Result, ensure};

use super::helm::{IDS, Release};

/// How helm refuses these flags, together with the ids.
async fn refusal(flags: &[&str]) -> Result<String> {
    Release::usual(&[&IDS[..], flags].concat()).refusal().await
}

pub async fn wrong_values_are_refused_by_name() -> Result<()> {
    for (flag, parts) in [
        (
            "--set=replicas=3",
            &["additional properties 'replicas' not allowed"][..],
        ),
        (
            "--set=azure.clientID=x",
            &["'/azure'", "additional properties 'clientID'"],
        ),
        (
            "--set=metrics.serviceMonitor.release=x",
            &["'/metrics/serviceMonitor'", "'release'"],
        ),
        (
            "--set=metrics.service.type=NodePort",
            &["'/metrics/service'", "'type'"],
        ),
        (
            "--set=podDisruptionBudget.minavailable=1",
            &["'/podDisruptionBudget'", "'minavailable'"],
        ),
        ("--set=extraEnv[0].key=A", &["'/extraEnv/0'", "'name'"]),
        (
            "--set-json=extraEnv=[{\"name\":\"A\",\"valueform\":{}}]",
            &["'/extraEnv/0'", "'valueform'"],
        ),
        ("--set=replicaCount=two", &["'/replicaCount'", "want integer"]),
        ("--set-string=crds.keep=true", &["'/crds/keep'", "want boolean"]),
        ("--set=extraArgs=x", &["'/extraArgs'", "want array"]),
        ("--set=extraArgs[0]=run", &["'/extraArgs/0'", "'^--'"]),
        ("--set=commonLabels.a=1", &["'/commonLabels/a'", "want string"]),
        (
            "--set=azure.clientId=my-identity",
            &["'/azure/clientId'", "'my-identity'", "pattern"],
        ),
        (
            "--set=azure.tenantId=contoso.onmicrosoft.com",
            &["'/azure/tenantId'", "pattern"],
        ),
        (
            "--set=azure.subscriptionId=prod",
            &["'/azure/subscriptionId'", "pattern"],
        ),
        (
            "--set=azure.resourceGroup=shop.",
            &["'/azure/resourceGroup'", "pattern"],
        ),
        ("--set=azure.audience=", &["'/azure/audience'", "minLength"]),
        (
            "--set=azure.audience=api://a b",
            &["'/azure/audience'", "pattern"],
        ),
        (
            "--set=azure.environment=AzureCloud",
            &["'/azure/environment'", "'public', 'usgovernment', 'china'"],
        ),
        (
            "--set=azure.credential=secret",
            &["'/azure/credential'", "'workload-identity'"],
        ),
        ("--set=authorization=off", &["'/authorization'", "'rbac', 'none'"]),
        (
            "--set=deletionPolicy=delete",
            &["'/deletionPolicy'", "'Delete', 'Retain'"],
        ),
        ("--set=logFormat=logfmt", &["'/logFormat'", "'json', 'text'"]),
        ("--set=driftInterval=600", &["'/driftInterval'", "want string"]),
        ("--set=driftInterval=ten", &["'/driftInterval'", "pattern"]),
        (
            "--set=cluster.issuer=http://issuer",
            &["'/cluster/issuer'", "pattern"],
        ),
        ("--set=image.digest=latest", &["'/image/digest'", "sha256"]),
        ("--set=metrics.port=0", &["'/metrics/port'", "minimum"]),
        ("--set=watchNamespace=a.b", &["'/watchNamespace'", "pattern"]),
        (
            "--set=admissionPolicy.failurePolicy=Warn",
            &["'/admissionPolicy/failurePolicy'", "'Fail', 'Ignore'"],
        ),
    ] {
        let told = refusal(&[flag]).await?;
        for part in parts {
            ensure!(told.contains(part), "{flag}: {part} is missing in:\n{told}");
        }
    }
    Ok(())
}

pub async fn values_that_contradict_each_other_say_what_to_do() -> Result<()> {
    for (flags, sentence) in [
        (
            &["--set=azure.clientId="][..],
            "azure.clientId is not set. Set it to the client id of the operator's own managed identity: az identity show",
        ),
        (
            &["--set=azure.tenantId="],
            "azure.tenantId is not set. Set it to the tenant of the operator's own managed identity: az identity show",
        ),
        (
            &["--set=azure.tenantId=00000000-0000-0000-0000-000000000000"],
            "azure.tenantId is a placeholder. Set azure.clientId and azure.tenantId to clientId and tenantId of the operator's own",
        ),
        (
            &["--set=azure.credential=environment"],
            "extraEnv has neither AZURE_CLIENT_SECRET nor AZURE_CLIENT_CERTIFICATE_PATH. Add one of them",
        ),
        (
            &["--set=serviceAccount.create=false"],
            "serviceAccount.create is false and serviceAccount.name is not set. Name the ServiceAccount",
        ),
        (
            &["--set=leaderElection.enabled=false"],
            "leaderElection.enabled is false and replicaCount is 2. Without an election there must never be a second replica: set replicaCount to 1",
        ),
        (
            &[
                "--set=leaderElection.enabled=false",
                "--set=replicaCount=1",
                "--set=strategy.type=RollingUpdate",
            ],
            "strategy.type is RollingUpdate, which runs two pods during an update. Leave strategy empty",
        ),
        (
            &[
                "--set=podDisruptionBudget.minAvailable=1",
                "--set=podDisruptionBudget.maxUnavailable=1",
            ],
            "podDisruptionBudget has both minAvailable and maxUnavailable. Set one of them",
        ),
        (
            &["--set=admissionPolicy.enabled=true", "--set=authorization=none"],
            "admissionPolicy.enabled asks for grants that authorization: none does not know. Turn the policy off",
        ),
        (
            &[
                "--set=metrics.enabled=false",
                "--set=metrics.serviceMonitor.enabled=true",
            ],
            "metrics.serviceMonitor.enabled needs the Service: set metrics.enabled to true",
        ),
    ] {
        let told = refusal(flags).await?;
        ensure!(told.contains(sentence), "{flags:?}: {told}");
    }
    // Other ways to say who the operator is.
    for flags in [
        &["--set=azure.credential=managed-identity"][..],
        &["--set=extraEnv[0].name=AZURE_CLIENT_ID,extraEnv[1].name=AZURE_TENANT_ID"],
    ] {
        Release::usual(flags).objects().await?;
    }
    Ok(())
}
