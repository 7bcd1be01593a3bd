// SPDX-License-Identifier: GPL-2.0-or-later
//! Makes a RAFS v6 image of a folder: what `nydus-image create` does, for one layer.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use anyhow::Result;
use anyhow::bail;
use nydus_api::ConfigV2;
use nydus_api::ConfigV2Internal;
use nydus_builder::ArtifactStorage;
use nydus_builder::BlobManager;
use nydus_builder::BootstrapManager;
use nydus_builder::BuildContext;
use nydus_builder::Builder;
use nydus_builder::ConversionType;
use nydus_builder::DirectoryBuilder;
use nydus_builder::Features;
use nydus_builder::Prefetch;
use nydus_builder::PrefetchPolicy;
use nydus_builder::WhiteoutSpec;
use nydus_builder::attributes::Attributes;
use nydus_rafs::metadata::RafsVersion;
use nydus_utils::compress;
use nydus_utils::digest;

/// Bytes to a chunk: small, so that an image of a few megabytes has many.
const CHUNK: u32 = 0x1_0000;

/// Makes `out`/bootstrap, and the data blob beside it under its own id, which is returned.
///
/// # Errors
/// When the builder fails, or makes anything but one blob.
pub fn make(tree: &Path, out: &Path) -> Result<String> {
    let bootstrap = out.join("bootstrap");
    let mut context = BuildContext::new(
        // Named by the digest of its bytes.
        String::new(),
        // Chunks begin at pages, as the cache needs it.
        true,
        0,
        compress::Algorithm::Zstd,
        digest::Algorithm::Blake3,
        // Owners are not kept: the same image, whoever makes it.
        false,
        WhiteoutSpec::None,
        ConversionType::DirectoryToRafs,
        tree.to_owned(),
        Prefetch::new(PrefetchPolicy::None)?,
        Some(ArtifactStorage::FileDir((out.to_owned(), String::new()))),
        None,
        false,
        Features::new(),
        false,
        Attributes::default(),
    );
    context.set_fs_version(RafsVersion::V6);
    context.set_chunk_size(CHUNK);
    let config = ConfigV2 {
        internal: ConfigV2Internal::default(),
        ..ConfigV2::default()
    };
    config.internal.set_blob_accessible(true);
    context.set_configuration(Arc::new(config));
    let storage = Some(ArtifactStorage::SingleFile(bootstrap.clone()));
    let mut bootstraps = BootstrapManager::new(storage, None);
    let mut blobs = BlobManager::new(digest::Algorithm::Blake3, false);
    let made = DirectoryBuilder::new()
        .build(&mut context, &mut bootstraps, &mut blobs)
        .with_context(|| format!("making a RAFS image of {}", tree.display()))?;
    // The builder also writes one for data kept elsewhere, of which there is none.
    let external = bootstrap.with_extension("external");
    if external.exists() {
        fs::remove_file(&external)?;
    }
    match made.blobs.as_slice() {
        [blob] if out.join(blob).is_file() && bootstrap.is_file() => Ok(blob.clone()),
        other => bail!("expected one blob in {}, got {other:?}", out.display()),
    }
}
