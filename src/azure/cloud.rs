//! Clouds and their endpoints.

use url::Url;

use super::SetupError;

/// An Azure cloud.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Cloud {
    /// The public cloud.
    #[default]
    #[value(name = "public", alias = "AzurePublicCloud", alias = "AzureCloud")]
    Public,
    /// Azure US Government.
    #[value(
        name = "usgovernment",
        alias = "AzureUSGovernmentCloud",
        alias = "AzureUSGovernment"
    )]
    UsGovernment,
    /// Azure operated by 21Vianet in China.
    #[value(name = "china", alias = "AzureChinaCloud")]
    China,
}

/// Where tokens and resources are had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoints {
    /// Azure Resource Manager.
    pub resource_manager: Url,
    /// Entra.
    pub authority: Url,
    /// Scope of tokens for Resource Manager, `<resource>/.default`.
    pub scope: String,
}

impl Cloud {
    fn resource_manager(self) -> &'static str {
        match self {
            Self::Public => "https://management.azure.com",
            Self::UsGovernment => "https://management.usgovcloudapi.net",
            Self::China => "https://management.chinacloudapi.cn",
        }
    }

    fn authority(self) -> &'static str {
        match self {
            Self::Public => "https://login.microsoftonline.com",
            Self::UsGovernment => "https://login.microsoftonline.us",
            Self::China => "https://login.chinacloudapi.cn",
        }
    }
}

impl Endpoints {
    /// The endpoints of a cloud, each replaced by the given one if any.
    ///
    /// # Errors
    /// An endpoint that is no `https` URL is refused: bearer tokens go there.
    pub fn new(
        cloud: Cloud,
        resource_manager: Option<&str>,
        authority: Option<&str>,
    ) -> Result<Self, SetupError> {
        let resource_manager = https(
            "--azure-endpoint",
            resource_manager.unwrap_or_else(|| cloud.resource_manager()),
        )?;
        let scope = format!("{}/.default", resource_manager.as_str().trim_end_matches('/'));
        Ok(Self {
            resource_manager,
            authority: https(
                "--azure-authority-host",
                authority.unwrap_or_else(|| cloud.authority()),
            )?,
            scope,
        })
    }
}

fn https(flag: &str, text: &str) -> Result<Url, SetupError> {
    match Url::parse(text) {
        Ok(url) if url.scheme() == "https" && url.has_host() => Ok(url),
        Ok(_) => Err(SetupError::Setting(format!(
            "{flag} must be an https URL, not {text:?}"
        ))),
        Err(error) => Err(SetupError::Setting(format!("{flag} {text:?} is no URL: {error}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_cloud_has_its_own_endpoints() {
        let endpoints = |cloud| Endpoints::new(cloud, None, None).unwrap();
        assert_eq!(
            endpoints(Cloud::Public).scope,
            "https://management.azure.com/.default"
        );
        assert_eq!(
            endpoints(Cloud::UsGovernment).authority.as_str(),
            "https://login.microsoftonline.us/"
        );
        assert_eq!(
            endpoints(Cloud::China).scope,
            "https://management.chinacloudapi.cn/.default"
        );
    }

    #[test]
    fn tokens_never_go_over_plain_http() {
        let error = Endpoints::new(Cloud::Public, Some("http://localhost"), None).unwrap_err();
        assert!(
            error
                .to_string()
                .contains("--azure-endpoint must be an https URL"),
            "{error}"
        );
    }
}
